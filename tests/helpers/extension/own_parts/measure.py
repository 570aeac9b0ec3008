"""A measure that sees contexts and explanations."""

import torch


class Copied:
    """Share of an explanation's words that stand in its own context, beside the same of another row's context."""

    def __call__(self, record):
        decode = record.autoencoder.target.tokenizer.decode
        contexts = [set(decode(ids).split()) for ids in record.context_ids]

        def shares(of):
            words = [text.split() for text in record.texts]
            return torch.tensor([sum(w in of[i] for w in row) / max(1, len(row)) for i, row in enumerate(words)])

        own_N, other_N = shares(contexts), shares([*contexts[1:], contexts[0]])
        record.board.add_mean("copied", own_N, record.main_N, null_N=other_N)
        record.columns["copied"] = own_N.tolist()
