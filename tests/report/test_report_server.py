"""The server shows the runs of the given folders, and nothing else of the machine."""

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import quote, urlencode, urlsplit

import pytest
from fake_runs import record, write_picture, write_run
from PIL import Image

from dino_plugin.report.server import ReportServer

SECRET = 'the secret of another folder'


class Client:
    """Asks a server that runs in a thread."""

    def __init__(self, server: ReportServer) -> None:
        self.server, self.port = server, server.server_port

    def get(self, address: str, method: str = 'GET', host: str = '') -> tuple[int, bytes, dict]:
        """Status, body and headers; the address is sent as it is."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=20)
        connection.putrequest(method, address, skip_host=True)
        connection.putheader('Host', host or f'localhost:{self.port}')
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body, dict(answer.getheaders())

    def content(self, *names: str) -> dict:
        """What the page of these runs gets."""
        status, body, _ = self.get('/content?' + urlencode([('run', name) for name in names]))
        assert status == 200
        return json.loads(body)


@pytest.fixture
def client(tmp_path) -> Iterator[Client]:
    """Two runs below one folder; beside it and reachable by links, what nobody may read."""
    for name in ('first', 'second'):
        write_picture(write_run(tmp_path / 'given' / name) / 'views.png')
    secret = tmp_path / 'outside'
    secret.mkdir()
    (secret / 'secret.txt').write_text(SECRET)
    write_picture(secret / 'secret.png')
    (tmp_path / 'given/first/features.png').symlink_to(secret / 'secret.png')
    (tmp_path / 'given/first/overlays').symlink_to(secret)
    (tmp_path / 'given/first/notes.txt').write_text(SECRET)
    (tmp_path / 'given/linked').symlink_to(write_run(tmp_path / 'elsewhere'))
    server = ReportServer([tmp_path / 'given'], port=0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Client(server)
    server.shutdown()
    server.server_close()
    thread.join()


def test_several_runs_are_a_table_and_each_has_a_page(client):
    shown = client.content()
    assert shown['index'] and [run['name'] for run in shown['runs']] == ['first', 'second']
    assert shown['runs'][0]['quality'] == '30.0 → 42.5 %'
    assert shown['panels'] == []
    page = client.content('second')
    assert 'index' not in page and [run['name'] for run in page['runs']] == ['second']
    assert page['panels'] and page['others']
    both = client.content('second', 'first')
    assert [run['name'] for run in both['runs']] == ['second', 'first']


@pytest.mark.parametrize('address', ['/', '/runs?run=first', '/runs?run=first&run=second'])
def test_pages_load_from_the_server_alone(client, address):
    status, body, headers = client.get(address)
    assert (status, headers['Content-Type']) == (200, 'text/html; charset=utf-8')
    assert b"default-src 'none'" in body
    assert b'<script src="plotly.js">' in body
    assert headers['X-Content-Type-Options'] == 'nosniff'
    assert headers['Cache-Control'] == 'no-store'


def test_the_library_is_served(client):
    status, body, headers = client.get('/plotly.js')
    assert (status, headers['Content-Type']) == (200, 'text/javascript; charset=utf-8')
    assert len(body) > 1_000_000


def test_pictures_come_as_webp_from_the_addresses_in_the_content(client):
    (views,) = client.content('first')['pictures']
    address = views['parts'][0]['frames'][0]['source']
    assert address.startswith('picture?')
    status, body, headers = client.get('/' + address)
    assert (status, headers['Content-Type']) == (200, 'image/webp')
    assert Image.open(io.BytesIO(body)).size == (36, 24)


def test_a_picture_that_is_written_again_has_another_address(client, tmp_path):
    def address() -> str:
        return client.content('first')['pictures'][0]['parts'][0]['frames'][0]['source']

    before = address()
    os.utime(tmp_path / 'given/first/views.png', (1, 1))
    assert address() != before


def test_names_that_are_no_text_have_addresses_too(client, tmp_path):
    folder = write_run(tmp_path / 'given' / os.fsdecode(b'na\xffme'))
    write_picture(folder / 'plain.png').rename(folder / os.fsdecode(b'pic\xfeture.png'))
    assert client.get('/runs?run=na%3Fme')[0] == 200
    (picture,) = client.content('na?me')['pictures']
    assert client.get('/' + picture['parts'][0]['frames'][0]['source'])[0] == 200


def test_the_content_grows_with_the_run_and_new_runs_appear(client, tmp_path):
    file = tmp_path / 'given/first/20260101_100000/vis_data/scalars.json'
    before = client.content('first')
    with file.open('a') as out:
        out.write(json.dumps(record(21)) + '\n{"loss": 1')
    after = client.content('first')
    assert (before['runs'][0]['step'], after['runs'][0]['step']) == (20, 21)
    write_run(tmp_path / 'given/another')
    assert [run['name'] for run in client.content()['runs']] == ['another', 'first', 'second']
    assert client.content('first')['runs'][0]['step'] == 21


PLACES = [
    '../outside/secret.png', '../../outside/secret.png', '..%2foutside%2fsecret.png', '%2e%2e/outside/secret.png',
    '..%252foutside%252fsecret.png', 'features.png', 'overlays/secret.png', 'secret', 'notes.txt', '.', '..', '', '/',
    'views.png/../../../outside/secret.png', './views.png', 'views.png%00', '20260101_100000/vis_data/config.py',
    '..\\outside\\secret.png', 'C:\\secret.png', '\u2025/outside/secret.png', 'file:///etc/passwd', '~/secret.png',
]  # fmt: skip


@pytest.mark.parametrize('kind', ['picture', 'film', 'still'])
def test_no_other_file_can_be_read(client, tmp_path, kind):
    absolute = [str(tmp_path / 'outside/secret.png'), quote(str(tmp_path / 'outside/secret.png'), safe='')]
    for place in PLACES + absolute:
        for run in ('first', '..', '../outside', '', 'given', str(tmp_path / 'outside')):
            encoded = quote(place, safe='%/\\.:~')
            status, body, _ = client.get(f'/{kind}?run={quote(run)}&place={encoded}')
            assert (status, body) == (404, b'There is nothing here.\n'), (run, place)


@pytest.mark.parametrize(
    'address',
    ['/../outside/secret.txt', '/..%2foutside%2fsecret.txt', '/given/first/views.png', '/first/views.png',
     '//etc/passwd', '/etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/picture', '/picture?run=first',
     '/film?place=views.png', '/Content', '/content/', '/static/../../outside', 'http://example.com/', '/%00',
     '/runs?run=linked', '/runs?run=outside', '/content?run=../outside', '/content?run=elsewhere', '*', '/?x=[',
     '//[x'],
)  # fmt: skip
def test_other_addresses_lead_nowhere(client, address):
    status, body, _ = client.get(address)
    assert SECRET.encode() not in body
    if address in ('/?x=[', 'http://example.com/'):  # these are the page
        assert status == 200
    else:
        assert (status, body) == (404, b'There is nothing here.\n')


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS'])
def test_only_get_is_answered(client, method):
    assert client.get('/', method)[0] == 501


@pytest.mark.parametrize('host', ['evil.example', 'evil.example:8000', 'localhost.evil.example', '[', '10.0.0.1', '@'])
def test_a_page_of_the_internet_cannot_ask_under_its_own_name(client, host):
    status, body, _ = client.get('/content', host=host)
    assert status in (403, 404)
    assert b'first' not in body


@pytest.mark.parametrize('host', ['localhost', '127.0.0.1', 'LOCALHOST:99'])
def test_this_machine_may_ask(client, host):
    assert client.get('/content', host=host)[0] == 200


def test_the_server_listens_to_this_machine_alone(client):
    assert client.server.server_address[0] == '127.0.0.1'


def test_a_server_for_others_answers_to_any_name(tmp_path):
    write_run(tmp_path / 'run')
    with ReportServer([tmp_path], host='0.0.0.0', port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert Client(server).get('/content', host='training.example:80')[0] == 200
        server.shutdown()


def test_one_run_has_its_page_at_the_root_and_none_says_so(tmp_path):
    with ReportServer([tmp_path / 'later'], port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = Client(server)
        assert client.content()['runs'] == []
        write_run(tmp_path / 'later/run')
        shown = client.content()
        assert [run['name'] for run in shown['runs']] == ['run']
        assert shown['panels'] and not shown['others']
        server.shutdown()


@pytest.mark.parametrize('more', [[], ['--host', '0.0.0.0']])
def test_the_program_serves_until_ctrl_c_and_warns_where_others_can_read(repository, tmp_path, more):
    write_run(tmp_path / 'run')
    program = [
        sys.executable,
        str(repository / 'tools/report.py'),
        str(tmp_path / 'run'),
        '--serve',
        '--port',
        '0',
        *more,
    ]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = urlsplit(process.stdout.readline().split()[0])
        connection = http.client.HTTPConnection('127.0.0.1', address.port, timeout=20)
        connection.request('GET', '/content')
        assert json.loads(connection.getresponse().read())['runs'][0]['name'] == 'run'
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert errors.strip() == (
        'Everybody who reaches 0.0.0.0 can read these runs: configs, logs, pictures.' if more else ''
    )


def test_a_port_that_is_taken_is_answered_in_one_line(client, repository, tmp_path):
    program = [
        sys.executable,
        str(repository / 'tools/report.py'),
        str(tmp_path),
        '--serve',
        '--port',
        str(client.port),
    ]
    run = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert 'choose another --port' in run.stderr
    assert len(run.stderr.splitlines()) == 1
