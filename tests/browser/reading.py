"""A page in a browser: opened as on this or that screen, asked what it looks like, printed."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selenium.webdriver import Chrome

#: Every text that can be seen, with its contrast to what lies behind it, by WCAG's formula.
_CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}
function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const found = rgba(getComputedStyle(at).backgroundColor);
    if (found[3] === 255) return found;
  }
  return [255, 255, 255, 255];
}
function luminance([r, g, b]) {
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const [x, y, z] = [r, g, b].map(v => linear(v / 255));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest('svg, style')) continue;
  const [a, b] = [luminance(rgba(getComputedStyle(element).color)), luminance(behind(element))];
  found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), texts.currentNode.data.trim().slice(0, 40)]);
}
return found;
"""


@dataclass(frozen=True)
class Page:
    """A file in a browser."""

    browser: Chrome
    path: Path

    def opened(self, scheme: Literal["light", "dark"] = "light", *, width: int = 1200) -> "Page":
        """Open it on a screen of that width; one below 500 px is a phone's."""
        self.browser.get("about:blank")
        self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        self.browser.get_log("performance")  # type: ignore[no-untyped-call]
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._tell("Emulation.setEmulatedMedia", media="", features=features)
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self._tell("Emulation.setDeviceMetricsOverride", **screen)
        self.browser.get(self.path.as_uri())
        return self

    def ask(self, script: str) -> Any:
        """What a script answers."""
        return self.browser.execute_script(script)

    def contrasts(self) -> list[tuple[float, str]]:
        """Every text that can be seen, with its contrast."""
        self.ask("document.querySelectorAll('details').forEach(one => one.open = true)")
        return [(float(ratio), text) for ratio, text in self.ask(_CONTRASTS)]

    def complaints(self) -> list[str]:
        """What the console says."""
        return [line["message"] for line in self.browser.get_log("browser")]  # type: ignore[no-untyped-call]

    def requests(self) -> list[str]:
        """What was asked for since it was opened, the file itself among it."""
        lines = self.browser.get_log("performance")  # type: ignore[no-untyped-call]
        told = [json.loads(line["message"])["message"] for line in lines]
        return [
            one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"
        ]

    def printed(self) -> bytes:
        """It as a PDF."""
        answer = self._tell("Page.printToPDF", preferCSSPageSize=True)
        return base64.b64decode(answer["data"])

    def as_if_printed(self) -> None:
        """Show it as it is printed, on the screen."""
        self._tell("Emulation.setEmulatedMedia", media="print")

    def _tell(self, command: str, **parameters: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.browser.execute_cdp_cmd(command, parameters)
        return answer
