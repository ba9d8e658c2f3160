"""A headless Chromium, driven through Debian's chromium-driver: the W3C WebDriver protocol is JSON over HTTP, and Python's own library speaks that."""

import base64
import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import urllib.request

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = None if CHROMIUM and DRIVER else "no Chromium: make browser (apt-get install chromium chromium-driver)"


class Browser:
    """A window of `width` pixels, in a light or dark system. What a page asks for and what its console says is kept."""

    def __init__(self, width=1200, height=900, dark=False):
        self.driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        port = next(found[1] for line in self.driver.stdout if (found := re.search(r"started successfully on port (\d+)", line)))
        self.address = f"http://127.0.0.1:{port}/session"
        self.width = width
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars"]
        wanted = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments, "perfLoggingPrefs": {"enableNetwork": True}},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self.address += "/" + self._post("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        self._devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self._devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._call("DELETE", "")
        self.driver.terminate()
        self.driver.wait()
        self.driver.stdout.close()

    def _call(self, method, path, body=None):
        request = urllib.request.Request(self.address + path, data=None if body is None else json.dumps(body).encode(), method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def _post(self, path, body):
        return self._call("POST", path, body)

    def _devtools(self, command, **parameters):
        return self._post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, page):
        self._post("/url", {"url": pathlib.Path(page).resolve().as_uri()})

    def run(self, script, *arguments):
        """What a function body in JavaScript returns."""
        return self._post("/execute/sync", {"script": script, "args": list(arguments)})

    def console(self):
        return [entry["message"] for entry in self._post("/se/log", {"type": "browser"})]

    def requests(self):
        """The addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._post("/se/log", {"type": "performance"})]
        return [url for event in events if event["method"] == "Network.requestWillBeSent" if not (url := event["params"]["request"]["url"]).startswith("data:")]

    def screenshot(self, path):
        """The whole page."""
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return window.innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self._devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))
