"""What conditions that choose for themselves, as `auto` does, say of their choices."""

from __future__ import annotations

from collections import Counter
from typing import Any

from concord.study.pages.outcome import Outcome


def accounts(outcome: Outcome) -> list[dict[str, Any]]:
    """By regime and condition each sentence once, with the number of seeds that said it: most said first."""
    out = []
    for account in outcome.summary.get("accounts", []):
        said = outcome.said(account)
        counted = Counter(sentence for of_seed in said for sentence in dict.fromkeys(of_seed))
        if counted:
            sentences = [{"text": text, "count": count} for text, count in counted.most_common()]
            names = {"regime": account["regime"], "condition": account["condition"]}
            out.append({**names, "sentences": sentences, "seeds": len(said)})
    return out
