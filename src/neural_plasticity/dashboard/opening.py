"""The browser, where there is one."""

import threading
import webbrowser

from neural_plasticity.environment.host import has_browser


def open_link(link: str, *, beside: bool = False) -> bool:
    """Open a link, or say that no browser is here; `beside`, since some browsers return only when they are closed."""
    if not has_browser():
        return False
    if beside:
        threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()
        return True
    return webbrowser.open(link)
