"""Words of the panel of generation for its choices."""

CONDITIONS = {
    "selected": "of the selected",
    "neighbours": "of the aim's samples",
    "uniform": "every class alike",
    "none": "no class",
    "class": "one class:",
}
ASKED = {
    "selected": "class of the selected sample",
    "neighbours": "classes of the aim's samples by their weights",
    "uniform": "every class alike",
    "none": "no class",
    "class": "one class",
}
BEGIN = {
    "seed": "the noise of the seed",
    "inverted": "noise that makes the nearest real image (slow)",
    "guided": "noise steered to the aim (slow)",
}
USUAL = "as in params.yaml"
STEPS = {"first": "the first step", "half": "the first half of the steps", "all": "every step"}
