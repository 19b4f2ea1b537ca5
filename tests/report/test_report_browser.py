"""The page in a real browser: it draws, with damaged runs, on phones, in the dark, and while a run goes on."""

import json
import math
import os
import random
import threading
from pathlib import Path

import numpy as np
import pytest
from fake_runs import COLLAPSE, PER_EPOCH, log_line, record, write_picture, write_run
from headless_browser import CHROMIUM, Browser

from dino_plugin.report import known_runs
from dino_plugin.report.page import write_page
from dino_plugin.report.server import ReportServer
from dino_plugin.visualization.overlay import VideoWriter

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed')

# The lines of a panel's curves, as numbers of points; what smoothing covers is drawn, too.
POINTS = 'document.querySelector(\'[data-name="{}"] .plot\').data.map((trace) => trace.x.length)'
DRAWN = 'document.querySelectorAll(".plot .scatterlayer path.js-line").length'


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp('profile')) as browser:
        yield browser


@pytest.fixture(scope='module')
def pages(tmp_path_factory) -> dict[str, str]:
    """Addresses of pages: of a run with everything, of two, of a crashed run, of none, of a hostile one."""
    folder = tmp_path_factory.mktemp('pages')
    whole = write_run(folder / 'whole')
    write_picture(whole / 'views.png')
    for number, step in enumerate((5, 10, 20)):
        write_picture(whole / f'20260101_100000/vis_data/vis_image/pictures/pca_{step}.png', (0, 0, 80 * (number + 1)))
    with VideoWriter(whole / 'propagation/overlays/swan.mp4') as film:
        for number in range(4):
            film.write(np.full((48, 64, 3), 60 * number, np.uint8))
    columns = {'a network with quite a long name': {'k-NN': 49.4}, 'untrained': {'k-NN': 34.0}, 'raw pixels': {}}
    (whole / 'scorecard.json').write_text(json.dumps(dict(measures=columns)))
    other = write_run(folder / 'other', steps=15, lr=0.5)
    crashed = write_run(folder / 'crashed', steps=15, warnings=(('WARNING', COLLAPSE.format(5)),))
    scalars = crashed / '20260101_100000/vis_data/scalars.json'
    scalars.write_text(scalars.read_text()[:-40] + '\n{"loss": NaN, "step": 16}\n{"loss": 4.2, "st')
    make_old(crashed)
    (folder / 'empty').mkdir()
    hostile = write_run(
        folder / '<b><img src=x onerror=hacked=1>', warnings=(('WARNING', '<script>hacked=1</script>'),)
    )
    (hostile / '20260101_100000/vis_data/config.py').write_text('a = "</script><script>hacked=1</script>"\n')
    with (hostile / '20260101_100000/vis_data/scalars.json').open('a') as out:
        name = '</h4><img src=x onerror=hacked=1><a href="javascript:hacked=1">loss</a>'
        out.write(json.dumps({name: 1.0, 'step': 1}) + '\n')
    chosen = dict(whole=[whole], two=[whole, other], crashed=[crashed], empty=[folder / 'empty'])
    chosen['hostile'] = [hostile, other]
    return {name: write_page(folders, folder / f'{name}.html').as_uri() for name, folders in chosen.items()}


def make_old(folder: Path) -> None:
    for path in folder.rglob('*'):
        os.utime(path, (1e9, 1e9))


def slide(browser: Browser, slider: str, value: float) -> None:
    """Move a slider, as a hand does."""
    browser.run(f'(({{s}}) => {{ s.value = {value}; s.dispatchEvent(new Event("input")); }})({{s: {slider}}})')


def draw_all(browser: Browser) -> None:
    """Scroll through the page, as curves are drawn when they come into sight."""
    count = browser.run('document.querySelectorAll(".plot").length')
    for number in range(count):
        browser.run(f'document.querySelectorAll(".plot")[{number}].scrollIntoView({{behavior: "instant"}})')
        browser.wait_for(f'document.querySelectorAll(".plot")[{number}].querySelector(".main-svg") !== null')


@pytest.mark.parametrize('name', ['whole', 'two', 'crashed', 'empty', 'hostile'])
@pytest.mark.parametrize(('width', 'dark'), [(320, True), (1280, False)])
def test_every_page_loads_without_complaint_and_fits_its_window(browser, pages, name, width, dark):
    browser.open(pages[name], width=width, dark=dark, touch=width < 500)
    draw_all(browser)
    assert browser.run('[document.documentElement.scrollWidth, document.body.scrollWidth]') == [width, width]
    assert browser.complaints == []
    assert browser.requests == [pages[name]], 'nothing but the page is asked for'
    assert browser.run('document.querySelectorAll("h1").length') == 1
    assert browser.run('[...document.images].every((image) => image.alt)')
    assert browser.run('typeof hacked') == 'undefined'


def test_every_scalar_is_drawn_with_its_points_and_a_sentence(browser, pages):
    browser.open(pages['whole'])
    draw_all(browser)
    names = browser.run('[...document.querySelectorAll(".panel h4")].map((head) => head.textContent)')
    assert names[0] == 'knn/top1_k20' and set(names) >= {'loss', 'loss_dino', 'target_information', 'feature_std'}
    assert browser.run(POINTS.format('loss')) == [20]
    assert browser.run(POINTS.format('knn/top1_k20')) == [2]
    assert browser.run(DRAWN) == len(names)
    lengths = browser.run('[...document.querySelectorAll(".js-line")].map((line) => line.getTotalLength())')
    assert min(lengths) > 100, 'each line crosses its panel'
    assert 'sudden fall' in browser.run('document.querySelector("[data-name=loss] .about").textContent')
    assert 'Curve of loss' in browser.run('document.querySelector("[data-name=loss] .plot").getAttribute("aria-label")')


def test_two_runs_are_compared_and_one_can_be_hidden(browser, pages):
    browser.open(pages['two'])
    draw_all(browser)
    assert browser.run(POINTS.format('loss')) == [20, 15]
    colours = browser.run('document.querySelector("[data-name=loss] .plot").data.map((trace) => trace.line.color)')
    assert colours == ['#0072b2', '#d55e00'], "Okabe and Ito's"
    (row,) = browser.run('[...document.querySelectorAll("#differences tbody tr")].map((row) => row.innerText)')
    assert row.split() == ['optim_wrapper.optimizer.lr', '0.001', '0.5']
    browser.run('document.querySelectorAll("#curves input[type=checkbox]")[0].click()')
    assert browser.run(POINTS.format('loss')) == [15]


def test_a_crashed_run_says_what_happened(browser, pages):
    browser.open(pages['crashed'])
    text = browser.run('document.getElementById("runs").innerText')
    assert 'No sign of life' in text and 'killed' in text
    assert 'collapsed onto few prototypes' in text
    assert 'loss was not a finite number at 1 of 15 points' in text
    draw_all(browser)
    assert browser.run(DRAWN) >= 5


def test_an_empty_folder_says_what_was_expected(browser, pages):
    browser.open(pages['empty'])
    text = browser.run('document.body.innerText')
    assert 'No run yet' in text and 'vis_data/scalars.json' in text


def test_texts_of_a_run_are_shown_as_they_are(browser, pages):
    browser.open(pages['hostile'])
    draw_all(browser)
    assert '<script>hacked=1</script>' in browser.run('document.getElementById("runs").innerText')
    assert '<img src=x onerror=hacked=1>' in browser.run('document.querySelector("h1").innerText')
    assert browser.run('document.querySelectorAll("a[href^=javascript], img[src=x]").length') == 0
    plot = 'document.querySelector("[data-name=loss] .plot")'
    browser.run(f'Plotly.Fx.hover({plot}, [{{curveNumber: 0, pointNumber: 3}}])')
    browser.wait_for(f'{plot}.querySelectorAll(".hoverlayer text").length > 0')
    assert '<b><img src=x onerror=hacked=1>: ' in browser.run(f'{plot}.querySelector(".hoverlayer").textContent')
    assert browser.run('typeof hacked') == 'undefined'


def test_smoothing_bends_a_curve_and_keeps_the_raw_one_behind(browser, pages):
    browser.open(pages['whole'])
    draw_all(browser)
    values = 'document.querySelector("[data-name=loss] .plot").data.map((trace) => [...trace.y])'
    (raw,) = browser.run(values)
    slide(browser, 'document.getElementById("smoothing")', 0.5)
    behind, smooth = browser.run(values)
    assert behind == raw
    expected, total = 0.0, 0.0
    for number, value in enumerate(raw):
        expected, total = expected * 0.5 + value, total * 0.5 + 1
        assert math.isclose(smooth[number], expected / total, rel_tol=1e-5)
    assert browser.run('document.querySelector("output[for=smoothing]").textContent') == '0.50'


def test_the_slider_goes_through_pictures_and_the_button_plays_a_film(browser, pages):
    browser.open(pages['whole'])
    figure = 'document.querySelector("[data-name=\'pictures/pca\']")'
    assert 'iteration 20 (3 of 3)' in browser.run(f'{figure}.innerText')
    last = browser.run(f'{figure}.querySelector("img").src')
    slide(browser, f'{figure}.querySelector("input")', 0)
    assert 'iteration 5 (1 of 3)' in browser.run(f'{figure}.innerText')
    assert browser.run(f'{figure}.querySelector("img").src') != last
    assert 'at iteration 5' in browser.run(f'{figure}.querySelector("img").alt')
    film = 'document.querySelector("#films figure")'
    still = browser.run(f'{film}.querySelector("img").src')
    browser.run(f'{film}.querySelector("button").click()')
    assert browser.run(f'{film}.querySelector("button").textContent') == 'Stop'
    assert browser.run(f'{film}.querySelector("img").src') != still
    browser.run(f'{film}.querySelector("img").scrollIntoView()')
    browser.wait_for(f'{film}.querySelector("img").naturalWidth === 64')
    browser.run(f'{film}.querySelector("button").click()')
    assert browser.run(f'{film}.querySelector("img").src') == still


def test_dark_and_light_change_text_curves_and_ground_while_the_page_is_open(browser, pages):
    look = """(() => { const plot = document.querySelector("[data-name=loss] .plot"); return [
        getComputedStyle(document.body).backgroundColor, plot.layout.template.layout.font.color,
        plot.data[0].line.color,
        getComputedStyle(plot.querySelector(".xtick text")).fill]; })()"""
    browser.open(pages['whole'])
    draw_all(browser)
    light = browser.run(look)
    browser.set_dark(True)
    browser.wait_for(f'{look}[2] !== "{light[2]}"')
    assert all(a != b for a, b in zip(light, browser.run(look)))
    browser.set_dark(False)
    browser.wait_for(f'{look}[2] === "{light[2]}"')
    assert browser.run(look) == light


@pytest.fixture(scope='module')
def long_run(tmp_path_factory) -> str:
    """The page of a run that logged eight scalars 100,000 times, with one peak each."""
    folder = write_run(tmp_path_factory.mktemp('long') / 'run', steps=1)
    noise = random.Random(0)
    names = [f'loss_{number}' for number in range(8)]
    with (folder / '20260101_100000/vis_data/scalars.json').open('w') as out:
        for step in range(1, 100_001):
            values = {name: round(noise.gauss(0, 1), 4) if step != 61_803 else 99.0 for name in names}
            out.write(json.dumps(values | dict(epoch=1, iter=step, step=step)) + '\n')
    return write_page([folder], folder / 'report.html').as_uri()


def test_of_a_hundred_thousand_points_as_many_are_drawn_as_pixels_can_show(browser, long_run):
    """Fewer points are what makes it quick (docs/report.md has seconds): times of a busy machine prove nothing."""
    browser.open(long_run, height=5000)
    browser.wait_for(f'{DRAWN} === 8')
    highest = browser.run('[...document.querySelectorAll(".plot")].map((plot) => Math.max(...plot.data[0].y))')
    assert highest == [99.0] * 8, 'no peak is lost'
    assert max(browser.run(POINTS.format('loss_0'))) < 3000, 'no more points than pixels can show'


def test_zoom_shows_the_points_of_a_stretch_and_a_double_click_all_of_them(browser, long_run):
    browser.open(long_run)
    draw_all(browser)
    plot = 'document.querySelector("[data-name=loss_0] .plot")'
    shown = f'(({{x}}) => [x[0], x[x.length - 1], x.length])({plot}.data[0])'
    whole = browser.run(shown)
    browser.run(f'void Plotly.relayout({plot}, {{"xaxis.range[0]": 61000, "xaxis.range[1]": 63000}})')
    first, last, count = browser.run(shown)
    assert 60_900 < first <= 61_000 and 63_000 <= last < 63_100, 'the stretch, and one point beyond each end'
    assert count > 350, 'of 2,000 points about every fifth is in the page'
    assert browser.run(f'{plot}.layout.xaxis.range') == [61_000, 63_000]
    browser.run(f'void Plotly.relayout({plot}, {{"xaxis.autorange": true, "yaxis.autorange": true}})')
    assert browser.run(shown) == whole


# --- served -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder with a run that goes on, and the address of its server."""
    monkeypatch.setattr(known_runs, 'SECONDS', 0.2)
    write_picture(write_run(tmp_path / 'runs/first', steps=15) / 'views.png')
    with ReportServer([tmp_path / 'runs'], port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / 'runs', f'http://localhost:{server.server_port}/', server
        server.shutdown()


def log_on(folder: Path, steps: range) -> None:
    with (folder / '20260101_100000/vis_data/scalars.json').open('a') as out:
        out.write(''.join(json.dumps(record(step)) + '\n' for step in steps))
    with (folder / '20260101_100000/20260101_100000.log').open('a') as out:
        out.write(''.join(log_line(f'Epoch(train) [2][{step - PER_EPOCH:2}/{PER_EPOCH}]  loss: 4.0') for step in steps))


def test_a_run_that_goes_on_is_drawn_on_and_the_zoom_stays(browser, served):
    folder, address, _ = served
    browser.open(address)
    draw_all(browser)
    plot = 'document.querySelector("[data-name=loss] .plot")'
    browser.run(f'window.marked = {plot}; void Plotly.relayout({plot}, {{"xaxis.range[0]": 5, "xaxis.range[1]": 18}})')
    assert 'running' in browser.run('document.getElementById("runs").innerText')
    log_on(folder / 'first', range(16, 18))
    browser.wait_for(f'Math.max(...{plot}.data[0].x) === 17')
    assert browser.run(f'{plot}.layout.xaxis.range') == [5, 18]
    assert browser.run(f'window.marked === {plot}'), 'the panel is the same, not a new one'
    browser.wait_for('document.getElementById("runs").innerText.includes("17 of 20 iterations")')
    log_on(folder / 'first', range(18, 21))
    browser.wait_for('document.getElementById("runs").innerText.includes("Ended")')
    write_picture(folder / 'first/20260101_100000/vis_data/vis_image/pictures/pca_20.png')
    browser.wait_for('document.querySelector("[data-name=\'pictures/pca\'] img") !== null')
    browser.run('document.querySelector("[data-name=\'pictures/pca\']").scrollIntoView()')
    browser.wait_for('[...document.images].every((image) => image.naturalWidth > 0)')
    assert browser.complaints == []
    assert all(request.startswith(address) for request in browser.requests)


def test_a_picture_that_comes_is_added_to_its_series_where_the_slider_stays(browser, served):
    folder, address, _ = served
    stored = folder / 'first/20260101_100000/vis_data/vis_image/pictures'
    for step in (5, 10):
        write_picture(stored / f'pca_{step}.png')
    browser.open(address)
    figure = 'document.querySelector("[data-name=\'pictures/pca\']")'
    slide(browser, f'{figure}.querySelector("input")', 0)
    write_picture(stored / 'pca_15.png')
    browser.wait_for(f'{figure}.innerText.includes("iteration 5 (1 of 3)")')


def test_several_runs_are_a_table_that_leads_to_their_pages(browser, served):
    folder, address, _ = served
    browser.open(address)
    write_run(folder / 'second')
    browser.wait_for('document.querySelectorAll("#runs tbody tr").length === 2')
    for width in (320, 1280):
        browser.open(address, width=width, touch=width < 500)
        assert browser.run('document.documentElement.scrollWidth') == width
    browser.run('document.querySelectorAll("input[name=run]").forEach((box) => box.click())')
    log_on(folder / 'first', range(16, 17))
    browser.wait_for('document.querySelector("#runs tbody tr").innerText.includes("16")')
    browser.run('document.querySelector("button").click()')
    browser.wait_for('location.pathname === "/runs" && document.readyState === "complete"')
    draw_all(browser)
    assert browser.run(POINTS.format('loss')) == [16, 20]
    browser.run('document.querySelector("nav a").click()')
    browser.wait_for('location.pathname === "/"')
    browser.wait_for('document.querySelectorAll("#runs tbody a").length === 2')
    browser.run('document.querySelectorAll("#runs tbody a")[1].click()')
    browser.wait_for('document.querySelector("h1").textContent === "second"')
    assert browser.complaints == []


def test_a_page_whose_server_is_gone_says_so_and_stays(browser, served):
    _, address, server = served
    browser.open(address)
    server.shutdown()
    server.socket.close()
    browser.wait_for('document.querySelector("footer").textContent.includes("does not answer")')
    assert browser.run('document.querySelectorAll(".plot").length') >= 5
