"""Stribution: the rules of folders, in Sieve (docs: reference/rules)."""

from mdirclient.stribution.cascade import Filed, Places, Report, Ruled, cascade
from mdirclient.stribution.compile import compile_script
from mdirclient.stribution.item import Item
from mdirclient.stribution.script import Action, Script, Target

__all__ = [
    "Action",
    "Filed",
    "Item",
    "Places",
    "Report",
    "Ruled",
    "Script",
    "Target",
    "cascade",
    "compile_script",
]
