"""A real browser for tests: the system's Chromium, driven over its DevTools protocol, with no driver to install."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import websocket  # comes with jupyter

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason=f"no browser is installed: none of {', '.join(NAMES)} is on the path"
)


class Browser:
    """Headless Chromium with one page. A context manager; `folder` is for its profile."""

    def __init__(self, folder, width=1200, height=1000):
        self.folder, self.size, self.events, self.number = Path(folder), f"{width},{height}", [], 0

    def __enter__(self):
        command = [CHROMIUM, "--headless=new", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
        command += ["--remote-debugging-port=0", f"--user-data-dir={self.folder}", f"--window-size={self.size}"]
        command += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium refuses to sandbox root
        self.process = subprocess.Popen(
            [*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            port = self._port()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=20) as answer:
                page = next(target for target in json.load(answer) if target["type"] == "page")
            self.socket = websocket.create_connection(
                page["webSocketDebuggerUrl"], timeout=60, suppress_origin=True, http_no_proxy=["127.0.0.1"]
            )
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
            self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # as if somebody sat before it
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error):
        self.socket.close()
        self._stop()

    def _stop(self):
        """End the browser and its children: they are a process group of their own."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(10)
                break
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self.process.wait(10)

    def _port(self, limit=60):
        end, file = time.monotonic() + limit, self.folder / "DevToolsActivePort"
        while time.monotonic() < end:
            if file.exists() and (lines := file.read_text().split()):
                return int(lines[0])
            if self.process.poll() is not None:
                raise RuntimeError(f"{CHROMIUM} ended with status {self.process.returncode}")
            time.sleep(0.05)
        raise TimeoutError("the browser did not say its port")

    def call(self, method, **parameters):
        """One command of the protocol; returns its result. Events that come meanwhile go to `events`."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            if "method" in message:
                self.events.append(message)

    def open(self, address):
        """Go there and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def run(self, script):
        """The value of a JavaScript expression (a promise is awaited)."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, script, limit=60):
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if value := self.run(script):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"still not true after {limit} s: {script}")

    def press(self, key, modifiers=0, code=None, number=0):
        """One key of the keyboard, such as "Enter", "Tab" or "ArrowRight"."""
        more = {"key": key, "code": code or key, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **more, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **more)

    def screenshot(self, path):
        import base64

        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def requested(self):
        """Addresses that the page asked for since `open`, data: excepted."""
        self.run("0")
        asked = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith("data:")]

    def complaints(self):
        """Errors of scripts, and what the browser logged as an error or a violation."""
        self.run("0")
        thrown = [e["params"]["exceptionDetails"] for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        logged = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        return thrown + [entry["text"] for entry in logged if entry["level"] == "error"]
