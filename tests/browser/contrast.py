"""Le contraste de deux couleurs, calculé dans la page comme WCAG le définit."""

CONTRAST = """
    const channel = (value) =>
        (value /= 255) <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
    const light = (color) => {
        const [red, green, blue] = color.match(/[0-9.]+/g).map(Number).map(channel);
        return .2126 * red + .7152 * green + .0722 * blue + .05;
    };
    const ground = (node) => {
        const color = getComputedStyle(node).backgroundColor;
        if (node === document.documentElement || !color.endsWith(", 0)")) return color;
        return ground(node.parentElement);
    };
    const contrast = (one, other) => {
        const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
        return high / low;
    };
"""


def with_contrast(script: str) -> str:
    """Donne à un script ``contrast`` et ``ground``, le fond d’un élément."""
    return f"() => {{{CONTRAST}    return ({script})(); }}"
