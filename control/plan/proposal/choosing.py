"""Chooses each table's source, so that parents come before their children and no cycle arises.

What the rows say themselves is taken first, where all of them do. Else a parent that every row has. Else one
after the other: the row above it in a tree, what it says, what it points to.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from control.plan.proposal.links import Link, Links
from control.plan.sections import Tenant
from sql.tenant_source import Constant, Parent, TenantSource, chain


@dataclass(slots=True)
class Choice:
    """The source of each table as far as it is chosen; `others` could take their place."""

    sources: dict[str, TenantSource] = field(default_factory=dict)
    others: dict[str, TenantSource] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    """Tables that nothing tells of and that others point to, each with one that does."""

    def leads_to(self, name: str, target: str) -> bool:
        """Whether a table takes its tenant from another, if only by way of others."""
        waiting, seen = [name], set()
        while waiting:
            here = waiting.pop()
            if here == target:
                return True
            if here not in seen:
                seen.add(here)
                waiting += parents_of(self.sources[here]) if here in self.sources else []
        return False


def parents_of(source: TenantSource) -> list[str]:
    """List the tables that a source asks as parents."""
    return [one.parent for one in chain(source) if isinstance(one, Parent)]


def choose(links: Links, names: Sequence[str], given: Mapping[str, TenantSource]) -> Choice:
    """Choose for all of them; some are `given`."""
    choice = Choice(dict(given))
    names = [name for name in names if name not in given]
    said = {name: links.own(name) for name in names}
    pointing = {name: links.parents(name) for name in names}
    for name in names:
        if said[name]:
            _take(choice, name, said[name])
    _layers(choice, names, pointing)
    for name in names:
        if name not in choice.sources and (alone := list(links.by_name_alone(name))):
            pointing[name] = sorted([*pointing[name], *alone], key=lambda link: link.preference)
    _layers(choice, names, pointing)
    for name in names:
        if name in choice.sources:
            _settle(links, choice, name, said[name], pointing[name])
    choice.shared = _shared(choice, names, pointing)
    some_are_told = bool(choice.sources)
    for name in names:
        if name not in choice.sources and name not in choice.shared:
            choice.sources[name] = Constant(constant=Tenant().legacy)
            if some_are_told:
                links.told[name].append(
                    "nothing tells whose its rows are: say it, leave them to this one, or leave the table out"
                )
    return choice


def _shared(choice: Choice, names: Sequence[str], pointing: dict[str, list[Link]]) -> dict[str, str]:
    """Tables that nothing tells of, and that one points to which is told, or which is shared itself.

    In one tenant's hands every row that points to them would be an edge to another tenant.
    """
    shared: dict[str, str] = {}
    waiting = [name for name in names if name in choice.sources]
    while waiting:
        name = waiting.pop()
        for link in pointing[name]:
            leader = _leader(link)
            if isinstance(link.source, Parent) and leader not in choice.sources and leader not in shared:
                shared[leader] = name
                waiting.append(leader)
    return shared


def _take(choice: Choice, name: str, asked: Sequence[Link]) -> None:
    """Ask these one after the other."""
    source: TenantSource | None = None
    for link in reversed(asked):
        source = link.source.model_copy(update={"otherwise": source})
    if source is None:
        raise ValueError("nothing to ask")
    choice.sources[name] = source
    choice.others.pop(name, None)
    if asked[0].other is not None:
        rest = source.otherwise if not isinstance(source, Constant) else None
        choice.others[name] = asked[0].other.model_copy(update={"otherwise": rest})


def _layers(choice: Choice, names: Sequence[str], pointing: dict[str, list[Link]]) -> None:
    """Give each table that says nothing a parent that is told already, nearest first: so no cycle arises."""
    while True:
        heirs = {
            name: next(iter(told), None)
            for name in names
            if name not in choice.sources
            for told in [[link for link in pointing[name] if _told(choice, link)]]
        }
        if not any(heirs.values()):
            return
        for name, link in heirs.items():
            if link is not None:
                _take(choice, name, [link])


def _told(choice: Choice, link: Link) -> bool:
    return not isinstance(link.source, Parent) or link.source.parent in choice.sources


def _allowed(choice: Choice, name: str, link: Link) -> bool:
    """Whether a table may take this one without asking itself in the end."""
    if not isinstance(link.source, Parent):
        return True
    return link.source.parent != name and not choice.leads_to(link.source.parent, name)


def _settle(links: Links, choice: Choice, name: str, said: Sequence[Link], pointing: Sequence[Link]) -> None:
    """Take the best of what may be asked, where the first choice does not tell of every row."""
    if said and said[0].every:
        _tell(links, name, said)
        return
    usable = [link for link in pointing if _told(choice, link) and _allowed(choice, name, link)]
    if usable and usable[0].every and not (said and said[0].every is None):
        if said:
            what = said[0].source
            links.told[name].append(
                f"{getattr(what, 'expression', 'its list of tenants')} doesn't say of every row whose it is, "
                f"and every row names one of {_leader(usable[0])}"
            )
        _take(choice, name, usable[:1])
        _tell(links, name, usable[:1])
        return
    asked = [*said, *_one_each(usable)]
    if not asked:
        return
    above = links.above(name)
    if above is not None:
        asked = [Link(above, every=False), *asked]
    _take(choice, name, asked)
    _tell(links, name, asked)


def _one_each(usable: Sequence[Link]) -> Iterator[Link]:
    """Every table once, and nothing after one that tells of every row."""
    seen: set[str] = set()
    for link in usable:
        if _leader(link) not in seen:
            seen.add(_leader(link))
            yield replace(link, other=None)
        if link.every:
            return


def _leader(link: Link) -> str:
    return str(getattr(link.source, "parent", None) or getattr(link.source, "lookup", ""))


def _tell(links: Links, name: str, asked: Sequence[Link]) -> None:
    links.told[name] += dict.fromkeys(note for link in asked for note in link.notes)
