"""Three tasks on three data sets: species, traits of a species, and the family that it belongs to.

Two relations start from the species: P(trait | species), and a hierarchy, P(family | species) of 0 and 1.
"""

import numpy as np

import concord as cc

species = cc.MulticlassTask("species", ["oak", "beech", "pine", "fir"])
traits = cc.MultilabelTask("traits", ["lobed", "needles", "cones_hang"])
family = cc.MulticlassTask("family", ["beeches", "pines"])
to_traits = cc.Relation(species, traits, [[1, 0, 0], [0.1, 0, 0], [0, 1, 0.9], [0, 1, 0.1]])
to_family = cc.Relation(species, family, [[1, 0], [1, 0], [0, 1], [0, 1]])


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features (n, 20) and all targets of drawn trees."""
    y = rng.integers(4, size=n)
    a = (rng.random((n, 3)) < to_traits.table[y]).astype(float)
    directions = np.random.default_rng(5).normal(size=(7, 20))
    x = 0.5 * np.eye(4)[y] @ directions[:4] + 0.7 * a @ directions[4:] + rng.normal(size=(n, 20))
    return x, {"species": y, "traits": a, "family": y // 2}


def main() -> None:
    """Fit with each row annotated for one of the three; print the accuracy of each class task on new rows."""
    rng = np.random.default_rng(0)
    x, targets = draw(840, rng)
    targets["species"][40:] = -1
    targets["traits"][np.r_[:40, 440:840]] = np.nan
    targets["family"][:440] = -1
    new_x, new = draw(2000, rng)
    for coupling in (None, "posterior"):
        model = cc.CoupledClassifier(
            [species, traits, family],
            relations=[to_traits, to_family],
            coupling=coupling,
            steps=150,
            random_state=0,
        )
        found = model.fit(x, targets).predict(new_x)
        for task in (species, family):
            right = np.mean(found[task.name] == np.array(task.classes)[new[task.name]])
            print(f"coupling {coupling}: {right:.3f} of the {task.name} right")


if __name__ == "__main__":
    main()
