"""Word lists the `context` teacher describes endings with: what a function word does, and what a content word names.

Hand-made and English on purpose: a tagger would be a second model and a download. Words outside the lists fall back to
suffixes (`ending.py`); other languages fall back to script and punctuation.
"""


def word_set(text: str) -> frozenset[str]:
    """The words of `text` as a set."""
    return frozenset(text.split())


FUNCTION_WORDS: dict[str, str] = {
    "the": "the definite article",
    "a": "the indefinite article",
    "an": "the indefinite article ahead of a vowel",
    "of": "the genitive preposition",
    "in": "the preposition of containment",
    "on": "the preposition of surface",
    "at": "the preposition of exact place",
    "to": "the particle of aim",
    "for": "the preposition of purpose",
    "with": "the preposition of company",
    "by": "the preposition of agency",
    "from": "the preposition of origin",
    "as": "the particle of likeness",
    "and": "an additive conjunction",
    "or": "the conjunction of choice",
    "but": "the conjunction of contrast",
    "nor": "the negative conjunction",
    "so": "the particle of consequence",
    "yet": "an adverb of concession",
    "if": "the conditional conjunction",
    "because": "the causal conjunction",
    "although": "a conjunction of concession",
    "though": "a conjunction of concession",
    "while": "a conjunction of simultaneity",
    "when": "the temporal relative",
    "where": "the locative relative",
    "until": "the conjunction of time limit",
    "since": "a conjunction of starting point",
    "unless": "the exceptive conjunction",
    "whether": "the conjunction of indirect question",
    "that": "the complementiser",
    "this": "the near demonstrative",
    "these": "the near plural demonstrative",
    "those": "the far plural demonstrative",
    "which": "a non-human relative pronoun",
    "who": "the human relative pronoun",
    "whom": "the human object relative",
    "whose": "the possessive relative",
    "what": "the open interrogative",
    "how": "the interrogative of manner",
    "why": "the interrogative of reason",
    "is": "a singular present copula",
    "are": "a plural present copula",
    "am": "a first-person copula",
    "was": "a singular past copula",
    "were": "a plural past copula",
    "be": "the bare copula",
    "been": "the copula's past participle",
    "being": "the copula's present participle",
    "has": "the singular auxiliary of possession",
    "have": "the plural auxiliary of possession",
    "had": "the past auxiliary of possession",
    "having": "the participle of possession",
    "do": "the plural supporting auxiliary",
    "does": "the singular supporting auxiliary",
    "did": "the past supporting auxiliary",
    "not": "the negation",
    "no": "the negative determiner",
    "never": "the adverb of total negation",
    "can": "the modal of ability",
    "could": "the conditional modal of ability",
    "will": "the modal of future",
    "would": "the conditional modal",
    "shall": "the modal of obligation",
    "should": "the modal of advice",
    "may": "the modal of permission",
    "might": "the modal of doubt",
    "must": "the modal of necessity",
    "i": "the first-person pronoun",
    "me": "the first-person object",
    "my": "the first-person possessive",
    "we": "the plural first-person pronoun",
    "us": "the plural first-person object",
    "our": "the plural first-person possessive",
    "you": "the second-person pronoun",
    "your": "the second-person possessive",
    "he": "the masculine pronoun",
    "him": "the masculine object",
    "his": "the masculine possessive",
    "she": "the feminine pronoun",
    "her": "the feminine possessive",
    "it": "the neuter pronoun",
    "its": "the neuter possessive",
    "they": "the plural pronoun",
    "them": "the plural object pronoun",
    "their": "the plural possessive",
    "himself": "the masculine reflexive",
    "herself": "the feminine reflexive",
    "itself": "the neuter reflexive",
    "themselves": "the plural reflexive",
    "there": "the existential adverb",
    "here": "the adverb of this place",
    "then": "the adverb of sequence",
    "now": "the adverb of the present",
    "than": "the comparative particle",
    "more": "the comparative of quantity",
    "most": "the superlative of quantity",
    "less": "the comparative of lack",
    "all": "the universal determiner",
    "both": "the dual determiner",
    "each": "the distributive determiner",
    "every": "the universal singular determiner",
    "any": "the free-choice determiner",
    "some": "the indefinite plural determiner",
    "many": "the determiner of large number",
    "few": "the determiner of small number",
    "several": "the determiner of some number",
    "other": "the determiner of difference",
    "another": "the determiner of one more",
    "such": "the determiner of kind",
    "same": "the adjective of identity",
    "only": "the adverb of restriction",
    "also": "the adverb of addition",
    "very": "the intensifier",
    "too": "the adverb of excess",
    "just": "the adverb of exactness",
    "about": "the preposition of subject",
    "into": "the preposition of entry",
    "onto": "the preposition of arrival on top",
    "over": "the preposition of passing above",
    "under": "the preposition of lower place",
    "above": "the preposition of higher place",
    "below": "the adverb of lower place",
    "between": "the preposition of two limits",
    "among": "the preposition of membership",
    "through": "the preposition of passage",
    "during": "the preposition of duration",
    "before": "the preposition of earlier time",
    "after": "the preposition of later time",
    "against": "the preposition of opposition",
    "without": "the preposition of absence",
    "within": "the preposition of inner limits",
    "toward": "the preposition of direction",
    "towards": "the preposition of direction",
    "around": "the preposition of surrounding",
    "along": "the preposition of following a line",
    "across": "the preposition of crossing",
    "up": "the particle of rising",
    "down": "the particle of falling",
    "out": "the particle of exit",
    "off": "the particle of separation",
    "back": "the particle of return",
    "however": "the adverb of contrast",
    "one": "the numeral of unity",
    "two": "a dual numeral",
    "first": "the initial ordinal",
    "second": "the next ordinal",
    "last": "the final ordinal",
}

CLASSES: dict[str, str] = {
    "month": "january february march april june july august september october november december",
    "weekday": "monday tuesday wednesday thursday friday saturday sunday",
    "season": "spring summer autumn winter",
    "colour": "red orange yellow green blue purple violet black white grey gray brown pink golden silver",
    "counting": (
        "three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand "
        "million billion dozen"
    ),
    "ordinal": "third fourth fifth sixth seventh eighth ninth tenth",
    "compass direction": (
        "north south east west northern southern eastern western northeast northwest southeast southwest"
    ),
    "time": (
        "year years month months week weeks day days hour hours minute minutes second seconds century "
        "centuries decade decades moment period"
    ),
    "family": (
        "mother father brother sister son daughter wife husband parents children uncle aunt cousin family child baby"
    ),
    "person": "man men woman women boy girl people person persons guy lady gentleman friend friends stranger",
    "rank": (
        "king queen prince president minister governor mayor senator general captain colonel major lieutenant "
        "commander admiral emperor bishop judge director chairman secretary officer"
    ),
    "profession": (
        "doctor teacher lawyer writer author actor singer player coach engineer scientist farmer soldier "
        "painter artist poet historian student professor driver nurse"
    ),
    "body": (
        "head hand hands eye eyes face arm arms leg legs foot feet heart body hair skin bone bones blood "
        "mouth back neck shoulder brain tail"
    ),
    "animal": (
        "dog cat horse horses bird birds fish lion tiger bear wolf sheep cow cattle pig snake mouse rat "
        "insect spider bee species"
    ),
    "plant": "tree trees flower flowers grass leaf leaves forest wood plant plants seed seeds fruit root",
    "food": (
        "bread meat milk cheese rice sugar salt wine beer coffee tea water soup cake egg eggs dinner lunch "
        "breakfast meal food"
    ),
    "building": (
        "house home church castle school hospital hotel palace temple tower station museum library bridge "
        "room hall building wall door window"
    ),
    "settlement": (
        "city town village capital street road avenue district county state province country nation kingdom "
        "empire borough suburb"
    ),
    "landscape": (
        "river mountain mountains sea ocean lake island islands coast valley hill hills desert beach bay field ground"
    ),
    "weather": "rain snow storm wind cloud clouds hurricane cyclone tropical flood ice heat cold sun",
    "vehicle": "car ship ships boat train truck aircraft plane airplane bus bicycle vessel tank helicopter",
    "war": (
        "war battle army navy troops attack forces regiment weapon guns gun enemy soldiers fleet division "
        "military invasion defence victory"
    ),
    "sport": (
        "game games team match season league club goal goals score coach championship tournament football "
        "baseball cricket basketball race"
    ),
    "music": (
        "song songs album music band guitar piano concert singer orchestra opera melody lyrics drum single track chorus"
    ),
    "stage": "film movie television episode scene actor theatre series character show drama play script audience",
    "writing": (
        "book novel poem story letter chapter page paper article magazine newspaper journal author text line "
        "word sentence"
    ),
    "government": (
        "government law court party election vote parliament congress policy tax act rights constitution "
        "council committee"
    ),
    "money": (
        "money price cost dollar dollars pound pounds bank market trade business company industry profit budget pay"
    ),
    "science": (
        "theory energy cell cells atom mass temperature experiment study research physics chemistry gene "
        "protein acid species"
    ),
    "religion": "god church faith prayer saint holy bible temple religion priest spirit soul heaven",
    "education": "school university college student students degree course education lesson",
    "medicine": "disease patient patients treatment hospital drug symptoms infection health surgery medicine pain",
    "emotion": "love fear anger joy happy sad hope hate afraid proud pleasure grief smile tears",
    "speech": "said says say told asked replied answered spoke talk called argued claimed explained announced wrote",
    "motion": "go went gone come came run ran walk walked move moved left returned arrived entered travelled fell",
    "thought": "think thought know knew believe believed understand remember felt feel idea mind decided considered",
    "perception": "see saw seen look looked watch watched hear heard sound view appeared seems",
    "data": (
        "string integer list tuple dict dictionary array object value values type float bytes byte number "
        "boolean sequence buffer"
    ),
    "program": (
        "class function method module package argument arguments parameter parameters attribute exception "
        "error instance variable interface import"
    ),
    "file": "file files directory path folder filename archive descriptor",
    "network": "server client socket request response url http host address port connection protocol header",
    "size": "large small big tiny huge great little long short tall wide high low deep",
    "judging": "good bad best worst better important beautiful popular successful famous poor fine main major",
    "age": "new old young ancient modern recent early late former",
    "nationality": (
        "american british english french german italian spanish russian chinese japanese indian greek roman "
        "australian canadian irish european african"
    ),
    "country": (
        "america britain england france germany italy spain russia china japan india greece rome australia "
        "canada ireland europe africa"
    ),
}

SEMANTIC: dict[str, str] = {}
for _name, _words in CLASSES.items():
    for _word in _words.split():
        SEMANTIC.setdefault(_word, _name)

# words that carry no topic, beyond those that FUNCTION_WORDS describes
EMPTY_WORDS = word_set(
    "ago almost already always among amp became become becomes began behind beside besides beyond came cannot "
    "come comes couldn despite didn different doesn doing done don either else enough especially even ever "
    "example far form found further gave get gets give given gives going got hadn hasn haven having hence "
    "however including indeed instead isn kind know known large least let like little long look made make makes "
    "making maybe much must near nearly need neither next none nothing often old once onto others otherwise "
    "part per perhaps place possible put quite rather really said saw say says see seem seems set several "
    "sometimes soon still take taken takes tell thing things think three though thus till together told took "
    "toward unk upon use used uses using usually various via want wasn way well went weren whatever whenever "
    "wherever whole wouldn yes yet called calls given new also able another something someone anything "
    "everything themselves yourself myself ourselves due early late later ones"
)
