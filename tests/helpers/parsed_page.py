"""Parses an HTML page like a browser: tags, texts, and the addresses that it would load."""

from html.parser import HTMLParser

LOADS = {"src", "srcset", "href", "xlink:href", "data", "action", "formaction", "poster", "background", "manifest"}
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Parsed(HTMLParser):
    """Tags, texts and whatever a browser would load."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.texts, self.tags, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in LOADS]
        self.loads += [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())
