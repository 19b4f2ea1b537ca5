"""A real browser without a window: Chromium, spoken to by its DevTools protocol over two pipes."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
_SECONDS = 60


class PageError(AssertionError):
    """What the page answered to a question that it cannot answer."""


class Browser:
    """One page of Chromium, as a context.

    Attributes:
        complaints: Texts of errors and warnings of the console, of exceptions, of refused and failed requests.
        requests: Addresses of everything that was asked for, without data: addresses.
    """

    def __init__(self, profile: Path) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._numbers = itertools.count(1)
        self._rest = b''
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def at_3_and_4() -> None:  # where Chromium expects them
            kept = os.dup(to_browser), os.dup(from_browser)
            for source, target in zip(kept, (3, 4)):
                os.dup2(source, target)

        self._process = subprocess.Popen(
            [CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
             '--remote-debugging-pipe', '--hide-scrollbars', f'--user-data-dir={profile}', 'about:blank'],
            preexec_fn=at_3_and_4, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._session = ''
        target = self.send('Target.createTarget', url='about:blank')['targetId']
        self._session = self.send('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.send(f'{domain}.enable')

    def __enter__(self) -> 'Browser':
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def send(self, method: str, **arguments: Any) -> dict:
        """Ask, and wait for the answer."""
        number = next(self._numbers)
        message = dict(id=number, method=method, params=arguments)
        if self._session:
            message['sessionId'] = self._session
        os.write(self._out, json.dumps(message).encode() + b'\0')
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            answer = self._next_message(end)
            if answer.get('id') == number:
                if 'error' in answer:
                    raise PageError(answer)
                return answer['result']
        raise TimeoutError(method)

    def open(self, address: str, width: int = 1280, height: int = 900, dark: bool = False, touch: bool = False) -> None:
        """Show a page in a window of this size, and wait until it is loaded."""
        self.complaints.clear()
        self.requests.clear()
        self.send('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.send('Emulation.setTouchEmulationEnabled', enabled=touch)
        self.set_dark(dark)
        self.send('Page.navigate', url=address)
        self.wait_for('document.readyState === "complete" && location.href !== "about:blank"')

    def set_dark(self, dark: bool) -> None:
        """Prefer dark or light colours."""
        feature = dict(name='prefers-color-scheme', value='dark' if dark else 'light')
        self.send('Emulation.setEmulatedMedia', features=[feature])

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.send('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in answer:
            raise PageError(answer['exceptionDetails'])
        return answer['result'].get('value')

    def wait_for(self, condition: str, seconds: float = 20) -> None:
        """Wait until an expression is true; while pages change, it may fail."""
        end = time.monotonic() + seconds
        last: Any = None
        while time.monotonic() < end:
            try:
                last = self.run(condition)
            except PageError as error:
                last = error
            if last is True:
                return
            time.sleep(0.05)
        raise PageError(f'never true: {condition}, at last {last}; complaints: {self.complaints}')

    def picture(self, path: Path, whole: bool = False) -> Path:
        """A screenshot of the window, or of the whole page."""
        answer = self.send('Page.captureScreenshot', format='png', captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer['data']))
        return path

    def _next_message(self, end: float) -> dict:
        while b'\0' not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError('Chromium does not answer')
            received = os.read(self._in, 1 << 20)
            if not received:
                raise ConnectionError('Chromium ended')
            self._rest += received
        text, _, self._rest = self._rest.partition(b'\0')
        message = json.loads(text)
        self._note(message.get('method', ''), message.get('params', {}))
        return message

    def _note(self, event: str, details: dict) -> None:
        if event == 'Runtime.exceptionThrown':
            self.complaints.append(json.dumps(details['exceptionDetails']))
        elif event == 'Runtime.consoleAPICalled' and details['type'] in ('error', 'warning', 'assert'):
            self.complaints.append(json.dumps(details['args']))
        elif event == 'Log.entryAdded' and details['entry']['level'] in ('error', 'warning'):
            self.complaints.append(details['entry']['text'])
        elif event == 'Network.loadingFailed' and not details.get('canceled'):
            self.complaints.append(details['errorText'])
        elif event == 'Network.requestWillBeSent' and not details['request']['url'].startswith('data:'):
            self.requests.append(details['request']['url'])
