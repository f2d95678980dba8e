"""Embeddings and the scikit-learn estimator: two tables that share no row, coupled where that helps."""

import numpy as np

import concord as cc

topic = cc.MulticlassTask("topic", ["sport", "politics", "cooking"])
tags = cc.MultilabelTask("tags", ["match", "vote", "recipe", "people"])
table = np.array([[0.9, 0.0, 0.0, 0.7], [0.1, 0.8, 0.0, 0.8], [0.0, 0.0, 0.9, 0.2]])


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (n, 32), topics (n,) and tags (n, 4) of drawn documents."""
    y = rng.integers(3, size=n)
    a = (rng.random((n, 4)) < table[y]).astype(float)
    directions = np.random.default_rng(3).normal(size=(7, 32))
    return 0.4 * np.eye(3)[y] @ directions[:3] + 0.6 * a @ directions[3:] + rng.normal(size=(n, 32)), y, a


def main() -> None:
    """Fit on 40 rows with a topic and 400 with tags; print what was chosen, and the accuracy on new rows."""
    rng = np.random.default_rng(0)
    x, y, a = draw(440, rng)
    y[40:], a[:40] = -1, np.nan
    model = cc.CoupledClassifier(
        [topic, tags],
        relations=[cc.Relation(topic, tags, table)],
        coupling="auto",
        effort="fast",
        steps=120,
        random_state=0,
    )
    model.fit(x, {"topic": y, "tags": a})
    print("\n".join(model.report_))
    new_x, new_y, _ = draw(2000, rng)
    found = model.predict(new_x)["topic"]
    right = np.mean(found == np.array(topic.classes)[new_y])
    shape = model.predict_proba(new_x)["tags"].shape
    print(f"{right:.3f} of the topics right; probabilities of the tags: {shape}")


if __name__ == "__main__":
    main()
