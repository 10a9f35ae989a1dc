"""Pieces of HTML that several panels use: an image by its address, a sample's name, buttons. All text is escaped."""

from __future__ import annotations

import html

from .resources import Project

FINE = 32  # pixels


def fine(project: Project) -> bool:
    """Whether images have detail enough to be enlarged smoothly; smaller ones show their pixels."""
    images = next(iter(project.generators.values())).images
    return images.manifest["arrays"]["images"]["shape"][-1] >= FINE


class Cards:
    """`images` is the address of the thumbnails, relative to the page."""

    def __init__(self, project: Project, images: str) -> None:
        self.project, self.images = project, images
        self.fine = " fine" if fine(project) else ""

    def image(self, sample_id: str, size: str, *, version: str = "", event: str = "", title: str = "") -> str:
        """An image by its address; with an event, a button. `size`: classes of panels.css (small, large, blue, thin ..)."""
        source = html.escape(f"{self.images}{sample_id}{f'?v={version}' if version else ''}")
        text = html.escape(title or sample_id)
        picture = f'<img class="{size}{self.fine}" src="{source}" alt="{text}" title="{text}" loading="lazy">'
        return button(picture, event, bare=True) if event else picture

    def sample(self, sample_id: str, size: str, *, event: str = "", title: str = "") -> str:
        """An image of a real or generated sample (`data-id` links it with its point on the map)."""
        side = self.project.side(sample_id)
        picture = self.image(sample_id, size, version=side.version if side else "", event=event, title=title)
        return f'<span class="sample" data-id="{html.escape(sample_id)}">{picture}</span>'

    def named(self, sample_id: str) -> str:
        """The class of a sample, in words."""
        if sample_id.startswith("made/"):
            return "made here"
        return self.class_name(self.project.label(sample_id))

    def class_name(self, label: int) -> str:
        name = self.project.classes[label]
        return f"class {name}" if name == str(label) else f"{label}: {name}"


def button(content: str, event: str, *, bare: bool = False, title: str = "", disabled: bool = False) -> str:
    """Content (HTML) that reports an event when clicked."""
    rest = f' class="{"bare" if bare else "press"}"{" disabled" if disabled else ""}'
    words = f' title="{html.escape(title)}"' if title else ""
    return f'<button type="button" data-event="{html.escape(event)}"{rest}{words}>{content}</button>'


def copied(text: str) -> str:
    """Text in code letters with a button that copies it."""
    safe = html.escape(text)
    return (
        f'<code>{safe}</code><button type="button" class="copy" data-copy="{safe}" title="Copy" aria-label="Copy {safe}">'
        "copy</button>"
    )
