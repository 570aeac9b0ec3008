"""A page of plain sentences, from which the tiny target's tokenizer is learned.

They cover the words that explanations and technical prose use most; changing one changes the tokenizer and raises
`tiny.VERSION`.
"""

SENTENCES = """
The text explains how a function works and what it returns. It ends on a word that the next sentence will repeat.
A module is a file with definitions and statements. The name of the module is the name of the file.
The text is about numbers, names, places and dates. It lists several items and then gives an example of each.
This part of the text describes a method of the class, with its arguments and their types.
The writer asks a question, then answers it in one or two short sentences. The tone is calm and formal.
The next word is likely to be a noun, a verb, a comma or the end of the sentence.
If the value is not found, an error is raised. If it is found, the value is returned as a string.
The ship left the harbour early in the morning and sailed along the coast towards the north.
In the year that followed, the town grew, and the river was crossed by a new bridge of stone.
Rain fell on the fields for three days, and the road to the village could not be used.
She opened the old book, read the first page aloud, and closed it again without a word.
He said that the answer was simple, but nobody in the room wanted to believe him.
A list can hold objects of any kind. A tuple cannot be changed after it has been made.
The file is opened for reading, its lines are read one at a time, and then it is closed.
Use this option to set the maximum number of tokens; the default is to use no limit.
The default value is None. The parameter is optional, and it must be given by keyword.
Change the path, run the command again and check that the output is the same as before.
The team won the game in the last minute; the crowd stood up and sang until the lights went out.
Water boils at a lower temperature in the mountains, because the pressure of the air is lower.
The song was written for a film, recorded in one day and released at the end of the summer.
An exception is an event that stops the normal flow of the program. Handle it, or let it pass.
The text quotes a rule of law and names the case in which it was first applied.
The passage is a heading followed by a table of values with units in brackets.
These words come from a conversation between two people who talk about their work.
The context is technical: it documents an interface of the standard library of a programming language.
The topic is history: it tells of a king, a war, a church and the land around them.
The topic is music: it names a singer, an album, a chart and the week of its release.
The topic is science: it compares the mass of a star with that of the sun and its planets.
The topic is sport: it gives the score, the season, the player and the league.
The last word is part of a name. The sentence has just begun. The list goes on. The bracket is still open.
Each of these features helps to predict what comes next; the last one is about the very end of the text.
Keep the answer short. Name the subject first, then the form, then the words that are expected to follow.
class, def, return, import, from, with, for, while, try, except, raise, yield, lambda, self, True, False, None
zero one two three four five six seven eight nine ten hundred thousand million first second third fourth fifth
January February March April May June July August September October November December Monday Sunday
London Paris Berlin Rome Madrid Vienna Tokyo Cairo America Europe Africa Asia England France Germany Italy Spain
the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which you
what does this hold; what is the meaning of the vector; describe the activation; explain the text; write it down
<explanation>The text is about a thing.</explanation> <concept> </concept> <text> </text> <summary>
<explanation>It ends here.</explanation> <explanation>The next word is a name.</explanation>
The text explains, explains and explains; the word is next.
""".strip()
