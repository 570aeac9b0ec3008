"""A teacher that says how the text began."""

from nlae.teacher import Estimate, Material


class FirstWords:
    """Quotes the first `words` words."""

    name, paid, asks_target = "first words", False, False

    def __init__(self, words: int = 4):
        self.words = words

    def identity(self):
        return {"name": self.name, "words": self.words}

    def prepare(self, material: Material):
        pass

    def estimate(self, contexts):
        return Estimate(requests=len(contexts), input_tokens=0, output_tokens=0)

    def describe(self, contexts, on_result):
        for context in contexts:
            on_result(context.row, f"It begins with {' '.join(context.text.split()[: self.words])}.")
