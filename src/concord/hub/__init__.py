"""Models for others: their model cards, and folders to and from the Hugging Face hub."""

from concord.hub.card import PLACE, Card, fenced, model_card
from concord.hub.remote import README, is_name, located, pushed

__all__ = ["PLACE", "README", "Card", "fenced", "is_name", "located", "model_card", "pushed"]
