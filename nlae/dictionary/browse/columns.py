"""What each column of the dictionary is called on a page, and what it says in one sentence."""

COLUMNS: dict[str, tuple[str, str]] = {
    "layer": ("Layer", "The block whose MLP the neuron belongs to, counted from 0."),
    "neuron": ("Neuron", "Its place in the input of the block's down-projection, or the number of a direction."),
    "sign": ("Sign", "Which half of the activation is described: neurons with a gate mean different things by sign."),
    "description": ("Description", "What the entry stands for, given only where it beat chance and the token table."),
    "candidate": ("Best candidate", "The best text that was tried, whether or not it passed."),
    "origin": (
        "Origin",
        "How that text came about: shared by a context that several neurons fire in, a consensus of contexts, an "
        "activation with or without the neuron's own part, its write direction, or the contexts alone.",
    ),
    "passes": (
        "Passes",
        "Whether q ≤ 0.05, AUROC ≥ 0.7 and 0.05 above the last-token table (unless set otherwise), all on documents "
        "that no other score of the page comes from.",
    ),
    "reason": (
        "Why not",
        "The first thing that keeps it from passing: too few contexts, a weak prediction, a last token that tells as "
        "much, or decoys and other entries' words that do as well.",
    ),
    "fdr": ("q-value", "Expected share of chance findings among all entries of the layer that are at least as good."),
    "prediction": (
        "AUROC",
        "How often the words rank a context that the neuron fires in above one that it rests in, on documents that "
        "chose and decided nothing; 0.5 is chance.",
    ),
    "prediction_decide": ("AUROC, deciding", "The same on the documents that decided whether the entry passes."),
    "prediction_quantile": (
        "AUROC, all strengths",
        "The same where all activations above the layer's threshold count as firing, weak ones too, which is harder.",
    ),
    "spearman": ("Spearman", "Rank correlation of what the words predict and how strongly the neuron fires."),
    "spearman_quantile": ("Spearman, when active", "The same among contexts of the active range alone."),
    "prediction_null": (
        "Decoy",
        "AUROC of the entry's decoy: its activations shuffled among equal tokens, then sent through everything.",
    ),
    "skyline": (
        "Skyline",
        "AUROC of the mean exemplar vector in place of words: what is reached here without any; no bound.",
    ),
    "last_token": ("Last-token table", "AUROC of a table that knows only which token stands there."),
    "token_list": ("Token list", "AUROC of counting the token among those of the strongest contexts."),
    "shuffled": ("Another's words", "AUROC of the best of another entry's candidates, chosen as its own are."),
    "context_only": (
        "Context-only words",
        "AUROC of key words of the contexts, without the autoencoder; the best of several.",
    ),
    "verbalized": ("Autoencoder's words", "AUROC of the autoencoder's own texts; the best of as many."),
    "share_of_skyline": ("Share of skyline", "How much of the skyline's lead over chance survives the words."),
    "r2": ("R² through words", "Share of the neuron's held-out variance that survives being put into words and back."),
    "r2_ceiling": ("R² ceiling", "The same for the best linear map from what the verbalizer is given."),
    "detection": (
        "Detection",
        "Balanced accuracy of a judge telling active from inactive contexts by the description.",
    ),
    "fuzzing": ("Fuzzing", "Balanced accuracy of a judge telling rightly from wrongly marked tokens."),
    "output_score": ("Output score", "How far steering along the neuron raises the tokens it is said to promote."),
    "frequency": ("Frequency", "Share of the training tokens on which it is active above the layer's threshold."),
    "kurtosis": ("Kurtosis", "Excess kurtosis of the activation: large where it is silent mostly and loud at times."),
    "mean": ("Mean", "Mean of the raw activation over the training tokens, whichever the sign."),
    "std": ("Deviation", "Standard deviation of the raw activation over the training tokens."),
    "clusters": ("Clusters", "Groups that its strongest contexts fall into; more than one means several meanings."),
    "specialised": ("Specialised", "Whether there is one such group and it holds at least half of them."),
    "sampled": ("Sampled", "Whether it belongs to the sample that got candidates of its own and a judge."),
    "tokens": ("Fires on", "The tokens at which its strongest contexts peak."),
    "promoted": ("Promotes", "The tokens that its write direction makes likelier, read off the unembedding."),
    "suppressed": ("Suppresses", "The tokens that its write direction makes less likely."),
    "exemplar_value": ("Exemplar values", "Its strongest activations, at most one per passage."),
    "exemplar_document": ("Exemplar passages", "The passages in which they stand."),
    "exemplar_position": ("Exemplar positions", "The tokens of those passages at which they stand."),
    "histogram": ("Histogram", "Counts of the activation, in standard deviations from its mean."),
}


def label(name: str) -> str:
    """What a column is called on a page."""
    return COLUMNS[name][0]
