"""Where else pulls look: mirrors of registries, other locations, and what is blocked."""

from __future__ import annotations

from dataclasses import dataclass

from registry.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Another place for the images of a prefix."""

    location: str
    """`HOST[:PORT][/PATH]`, which takes the place of the rule's prefix."""
    tags: bool = True
    """Whether it is asked what a tag means."""
    digests: bool = True
    """Whether it is asked for content by digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What holds for the images whose name begins with ``prefix``."""

    prefix: str
    """`HOST[:PORT][/PATH]`, or `*.DOMAIN`."""
    location: str = ""
    """Where those images really are for pulls; empty for where their name says."""
    mirrors: tuple[Mirror, ...] = ()
    """Asked before, in this order."""
    blocked: bool = False

    def covers(self, name: str) -> bool:
        """Say whether the repository ``name`` (`HOST/PATH`) is one of the prefix's."""
        if self.prefix.startswith("*."):
            return name.partition("/")[0].partition(":")[0].endswith(self.prefix[1:])
        return name == self.prefix or name.startswith(f"{self.prefix}/")

    def at(self, location: str, reference: Reference) -> Reference:
        """Return where ``location`` has what the rule's prefix calls ``reference``.

        Raises:
            InvalidReferenceError: that is not a name.
        """
        rest = reference.repository
        if not self.prefix.startswith("*."):
            rest = reference.name.removeprefix(self.prefix).removeprefix("/")
        moved = Reference.parse(f"{location}/{rest}" if rest else location)
        return Reference(
            registry=moved.registry,
            repository=moved.repository,
            tag=reference.tag,
            digest=reference.digest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """All rules; where several cover a name the longest prefix holds, and of equals the first."""

    rules: tuple[Rule, ...] = ()

    def rule_for(self, reference: Reference) -> Rule | None:
        """Return the rule that holds for ``reference``, if there is one."""
        covering = [rule for rule in self.rules if rule.covers(reference.name)]
        return max(covering, key=lambda rule: len(rule.prefix), default=None)
