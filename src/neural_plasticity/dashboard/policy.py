"""What the page may do, as Content-Security-Policies: nothing but run its own code and draw."""

import base64
import hashlib

# Plotly makes an empty style element and adds its rules through the DOM: this allows the empty element and no other.
_EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"

# It also sets style attributes, which depend on what is drawn; they can load nothing, since no source is allowed.
_ATTRIBUTES = "style-src-attr 'unsafe-inline'"


def digest(text: str) -> str:
    """The hash by which a policy allows an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def offline(scripts: list[str], styles: list[str]) -> str:
    """For the report: these scripts, these styles, pictures that the page draws itself, and no connection at all."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(digest(each) for each in scripts)}",
            f"style-src-elem {' '.join([*(digest(each) for each in styles), _EMPTY_STYLE])}",
            _ATTRIBUTES,
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


LIVE = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        f"style-src-elem 'self' {_EMPTY_STYLE}",
        _ATTRIBUTES,
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
