"""Texts: some with a sentiment, others with topics, through a bag of hashed words."""

import numpy as np
import torch

import concord as cc

review = cc.MulticlassTask("review", ["good", "bad"])
remarks = cc.MultilabelTask("remarks", ["praises", "complains", "asks_refund"])
relation = cc.Relation(review, remarks, [[0.9, 0.1, 0.0], [0.1, 0.9, 0.5]])
PHRASES = {
    "good": ["works well", "would buy again", "a joy"],
    "bad": ["broke at once", "never again", "a shame"],
    "praises": ["lovely colour", "quick delivery"],
    "complains": ["too loud", "poor finish"],
    "asks_refund": ["money back please", "return it"],
}


def write(n: int, rng: np.random.Generator) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """Reviews, with their class (n,) and labels (n, 3)."""
    texts, y, a = [], [], []
    for _ in range(n):
        c = int(rng.integers(2))
        labels = [float(rng.random() < p) for p in relation.table[c]]
        said = [name for name, is_on in zip(remarks.labels, labels, strict=True) if is_on]
        if rng.random() < 0.5:
            said.append(review.classes[c])
        rng.shuffle(said)
        texts.append(", ".join(str(rng.choice(PHRASES[name])) for name in said) or "it came")
        y.append(c)
        a.append(labels)
    return texts, torch.tensor(y), torch.tensor(a)


def main() -> None:
    """Train on 20 reviews with a class and 300 with remarks; say what it makes of three sentences."""
    torch.manual_seed(0)
    texts, y, a = write(320, np.random.default_rng(0))
    y[20:], a[:20] = -1, torch.nan
    trunk = cc.trunks.BagOfWords(buckets=2048, width=32)
    words = trunk.tokenize(texts)
    network = cc.MultiTaskNetwork(trunk, [review, remarks], words[:2])
    objective = cc.CoupledObjective(
        [review, remarks], relations=[relation], couplings=[cc.couplings.PosteriorCoannotation()]
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(60):
        result = objective(network(words), {"review": y, "remarks": a})
        optimiser.zero_grad()
        result.loss.backward()
        optimiser.step()
    network.eval()
    for text in ("lovely colour, works well", "money back please", "too loud, poor finish"):
        p = network(trunk.tokenize([text]))["review"].softmax(dim=1)[0]
        print(f"{text}: {review.classes[int(p.argmax())]}")


if __name__ == "__main__":
    main()
