'use strict';
// Draws the page from the JSON in it. All text of a run goes into text nodes and attributes, never into HTML.
(() => {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const touch = matchMedia('(pointer: coarse)');
  const main = document.getElementById('main');
  // Okabe and Ito's colours, which colour-blind people tell apart; those with most contrast first.
  const COLOURS = {
    light: ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#000000', '#e69f00', '#56b4e9'],
    dark: ['#56b4e9', '#e69f00', '#009e73', '#cc79a7', '#ffffff', '#f0e442', '#d55e00'],
  };
  const DASHES = ['solid', 'dash', 'dot', 'dashdot'];
  const FEW = 40; // points of a curve that get markers
  let content = JSON.parse(document.getElementById('content').textContent);
  let smoothing = 0;
  const hidden = new Set(); // names of runs
  const panels = new Map(); // name of a scalar -> {figure, plot, spec, drawn}
  const positions = new Map(); // name of a series of pictures -> chosen step, absent: the last

  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== false && value !== null) node.setAttribute(name, value === true ? '' : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null));
    return node;
  };
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const titled = (name) => capital(name.replace(/^pictures[_/]/, '').replace('/', ': ').replace(/_/g, ' ')).replace(/\bpca\b/i, 'PCA'); // of a picture
  const group = (number) => number.toLocaleString('en');
  const colour = (run) => { const all = COLOURS[dark.matches ? 'dark' : 'light']; return all[run % all.length]; };
  const dash = (run) => DASHES[Math.floor(run / COLOURS.light.length) % DASHES.length];
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const several = () => content.runs.length > 1;
  const plain = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;'); // for plotly's texts
  const swatch = (run) => {
    const mark = el('span', { class: 'swatch', 'aria-hidden': 'true', 'data-run': run });
    mark.style.background = colour(run);
    return mark;
  };
  const section = (id, title, ...children) => el('section', { id, 'aria-labelledby': `${id}-title` },
    el('h2', { id: `${id}-title` }, title), ...children);

  // --- curves ------------------------------------------------------------------------------------------------------

  const decode = (text) => {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Float32Array(bytes.buffer);
  };

  // Mean of the values so far in which older ones count less and less; the first is not pulled towards 0.
  const smooth = (y, weight) => {
    if (!weight) return y;
    const out = new Float32Array(y.length);
    let sum = 0, total = 0;
    for (let i = 0; i < y.length; i++) {
      if (Number.isFinite(y[i])) { sum = sum * weight + y[i]; total = total * weight + 1; }
      out[i] = Number.isFinite(y[i]) ? sum / total : NaN;
    }
    return out;
  };

  const firstAtLeast = (x, value) => {
    let low = 0, high = x.length;
    while (low < high) { const middle = (low + high) >> 1; if (x[middle] < value) low = middle + 1; else high = middle; }
    return low;
  };

  // The points between two places and one beyond each; of many, the lowest and the highest in each column of pixels.
  const visible = (x, y, from, to, columns) => {
    const start = Math.max(0, firstAtLeast(x, from) - 1), end = Math.min(x.length, firstAtLeast(x, to) + 2);
    if (end - start <= 2 * columns) return [x.slice(start, end), y.slice(start, end)];
    const chosen = [start];
    const width = (end - start) / columns;
    for (let column = 0; column < columns; column++) {
      const first = start + Math.floor(column * width), last = start + Math.floor((column + 1) * width);
      let low = -1, high = -1;
      for (let i = first; i < last; i++) {
        if (!Number.isFinite(y[i])) continue;
        if (low < 0 || y[i] < y[low]) low = i;
        if (high < 0 || y[i] > y[high]) high = i;
      }
      if (low < 0) chosen.push(first); else chosen.push(...(low < high ? [low, high] : low > high ? [high, low] : [low]));
    }
    chosen.push(end - 1);
    const kept = chosen.filter((index, place) => !place || index > chosen[place - 1]);
    return [Float32Array.from(kept, (index) => x[index]), Float32Array.from(kept, (index) => y[index])];
  };

  const traces = (panel) => {
    const axis = panel.plot.layout && panel.plot.layout.xaxis;
    const range = axis && axis.autorange === false && axis.range ? axis.range : [-Infinity, Infinity];
    const columns = Math.max(100, panel.plot.clientWidth || 300);
    const out = [];
    for (const curve of panel.curves) {
      const run = content.runs[curve.run];
      if (hidden.has(run.name)) continue;
      const mode = curve.x.length <= FEW ? 'lines+markers' : 'lines';
      const line = { color: colour(curve.run), dash: dash(curve.run), width: 2 };
      const trace = (y, more) => {
        const [x, shown] = visible(curve.x, y, Number(range[0]), Number(range[1]), columns);
        return { type: 'scatter', mode, x, y: shown, line, marker: { size: 6, color: line.color }, showlegend: false, ...more };
      };
      if (smoothing) out.push(trace(curve.y, { mode: 'lines', line: { ...line, width: 1 }, opacity: 0.3, hoverinfo: 'skip' }));
      const name = several() ? `${plain(run.name)}: ` : '';
      out.push(trace(smooth(curve.y, smoothing), { hovertemplate: `${name}%{y:.5~g}<extra></extra>` }));
    }
    return out;
  };

  const layout = (panel) => {
    const line = { gridcolor: style('--grid'), linecolor: style('--line'), zerolinecolor: style('--line'), automargin: true };
    return {
      uirevision: 'kept', // zoom stays when the data grow
      template: { layout: { font: { color: style('--text'), family: 'inherit', size: 12 } } },
      paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
      margin: { l: 44, r: 8, t: 28, b: 36 }, // above: the buttons
      modebar: { bgcolor: 'rgba(0,0,0,0)', color: style('--soft'), activecolor: style('--link') },
      hovermode: 'x unified', dragmode: touch.matches ? false : 'zoom',
      hoverlabel: { bgcolor: style('--card'), bordercolor: style('--line'), font: { color: style('--text') } },
      xaxis: { ...line, title: { text: 'iteration', font: { size: 11 } }, hoverformat: ',d', nticks: 6 },
      yaxis: { ...line, title: { text: panel.spec.unit, font: { size: 11 } }, nticks: 6 },
    };
  };

  const draw = (panel) => {
    const first = !panel.drawn;
    panel.drawn = true;
    const config = {
      responsive: true, displaylogo: false, displayModeBar: true,
      modeBarButtons: [['zoom2d', 'pan2d', 'resetScale2d', 'toImage']],
      toImageButtonOptions: { filename: panel.spec.name.replace(/[^\w.-]+/g, '_'), scale: 2 },
    };
    Plotly.react(panel.plot, traces(panel), layout(panel), config);
    if (first) {
      panel.plot.on('plotly_relayout', (change) => {
        if (Object.keys(change).some((key) => key.startsWith('xaxis'))) draw(panel);
      });
    }
  };

  const redraw = () => { for (const panel of panels.values()) if (panel.drawn) draw(panel); };

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const panel = entry.isIntersecting && panels.get(entry.target.dataset.name);
      if (panel && !panel.drawn) draw(panel);
    }
  }, { rootMargin: '400px' });

  const short = (value) => (value && Math.abs(value) < 0.001 ? value.toExponential(2) : value.toPrecision(4));

  // The last value of each run, for eyes by its colour and for others by its name.
  const lastValues = (panel) => {
    const unit = panel.spec.unit ? ` ${panel.spec.unit}` : '';
    const found = panel.curves.map((curve) => [curve.run, `${short(Number(curve.y[curve.y.length - 1]))}${unit}`]);
    panel.last.replaceChildren('Last: ', ...found.map(([run, value]) => el('span', { class: 'value' }, several() ? swatch(run) : null, value)));
    const told = found.map(([run, value]) => `${value}${several() ? ` of ${content.runs[run].name}` : ''}`).join(', ');
    panel.plot.setAttribute('aria-label', `Curve of ${panel.spec.name} by iteration. Last: ${told}.`);
  };

  const fill = (panel, spec) => {
    panel.spec = spec;
    panel.curves = spec.curves.map((curve) => ({ run: curve.run, x: decode(curve.x), y: decode(curve.y) }));
    lastValues(panel);
  };

  const newPanel = (spec) => {
    const panel = { plot: el('div', { class: 'plot', role: 'group' }), last: el('p', { class: 'soft' }), drawn: false };
    panel.figure = el('figure', { class: 'panel', 'data-name': spec.name },
      el('figcaption', {}, el('h4', {}, spec.name), el('p', { class: 'about' }, spec.about), panel.last), panel.plot);
    fill(panel, spec);
    panels.set(spec.name, panel);
    watcher.observe(panel.figure);
    return panel.figure;
  };

  const curveControls = () => {
    const slider = el('input', { type: 'range', min: 0, max: 0.99, step: 0.01, value: smoothing, id: 'smoothing' });
    const shown = el('output', { for: 'smoothing' }, smoothing ? smoothing.toFixed(2) : 'off');
    slider.addEventListener('input', () => {
      smoothing = Number(slider.value);
      shown.textContent = smoothing ? smoothing.toFixed(2) : 'off';
      redraw();
    });
    const controls = el('div', { class: 'controls' }, el('label', { for: 'smoothing' }, 'Smoothing', slider, shown));
    if (several()) content.runs.forEach((run, number) => {
      const box = el('input', { type: 'checkbox', checked: !hidden.has(run.name) });
      box.addEventListener('change', () => { if (box.checked) hidden.delete(run.name); else hidden.add(run.name); redraw(); });
      controls.append(el('label', {}, box, el('span', {}, swatch(number), run.name)));
    });
    return controls;
  };

  const curves = () => {
    panels.clear();
    watcher.disconnect();
    const sections = [...new Set(content.panels.map((spec) => spec.section))];
    return section('curves', 'Curves', curveControls(),
      el('p', { class: 'soft' }, touch.matches ? 'To zoom in, tap the magnifier above a curve, then drag over it; the house shows all again.'
        : 'Drag over a curve to zoom in, double-click to see all of it again.'),
      sections.map((title) => [el('h3', { class: 'group' }, title),
        el('div', { class: 'grid' }, content.panels.filter((spec) => spec.section === title).map(newPanel))]));
  };

  // --- pictures and films ------------------------------------------------------------------------------------------

  const caption = (part) => (several() ? el('figcaption', {}, swatch(part.run), content.runs[part.run].name) : null);

  const series = (one) => {
    const steps = [...new Set(one.parts.flatMap((part) => part.frames.map((frame) => frame.step)))].sort((a, b) => a - b);
    const images = one.parts.map((part) => ({ part, image: el('img', { loading: 'lazy', decoding: 'async' }) }));
    const told = el('output', { class: 'soft' });
    const show = (index) => {
      for (const { part, image } of images) {
        const frame = part.frames.filter((known) => known.step <= steps[index]).pop() || part.frames[0];
        if (image.getAttribute('src') !== frame.source) image.src = frame.source;
        image.alt = `${one.name} of ${content.runs[part.run].name}${steps.length > 1 ? ` at iteration ${group(frame.step)}` : ''}`;
      }
      told.textContent = `iteration ${group(steps[index])} (${index + 1} of ${steps.length})`;
    };
    const chosen = positions.has(one.name) ? steps.indexOf(positions.get(one.name)) : -1;
    const start = chosen >= 0 ? chosen : steps.length - 1;
    show(start);
    let controls = null;
    if (steps.length > 1) {
      const slider = el('input', { type: 'range', min: 0, max: steps.length - 1, value: start, 'aria-label': `Iteration of ${one.name}` });
      slider.addEventListener('input', () => {
        const index = Number(slider.value);
        if (index === steps.length - 1) positions.delete(one.name); else positions.set(one.name, steps[index]);
        show(index);
      });
      controls = el('div', { class: 'controls' }, slider, told);
    }
    return el('figure', { class: 'panel', 'data-name': one.name }, el('h3', {}, titled(one.name)),
      one.about ? el('p', { class: 'about' }, one.about) : null, controls,
      el('div', { class: 'parts' }, images.map(({ part, image }) => el('figure', {}, image, caption(part)))));
  };

  const film = (one) => {
    const images = one.parts.map((part) => ({ part, image: el('img', { src: part.still, loading: 'lazy',
      alt: `Film ${one.name} of ${content.runs[part.run].name}` }) }));
    const button = el('button', { type: 'button', 'aria-pressed': 'false' }, 'Play');
    button.addEventListener('click', () => {
      const plays = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(plays));
      button.textContent = plays ? 'Stop' : 'Play';
      for (const { part, image } of images) image.src = plays ? part.moving : part.still;
    });
    return el('figure', { class: 'panel', 'data-name': one.name }, el('h3', {}, titled(one.name)),
      el('div', { class: 'parts' }, images.map(({ part, image }) => el('figure', {}, image, caption(part)))),
      el('div', { class: 'controls' }, button));
  };

  // --- runs, tables, texts -----------------------------------------------------------------------------------------

  const table = (head, rows, label, kind = '') => el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label },
    el('table', { class: kind }, el('thead', {}, el('tr', {}, head)), el('tbody', {}, rows)));

  const state = (run) => el('span', { class: `state ${run.state}` }, run.state);

  const warning = (one) => el('li', {}, el('p', {}, one.text), el('p', { class: 'soft' },
    `${capital(one.level.toLowerCase())}, ${one.count > 1 ? `${one.count} times from ${one.first} to ${one.last}` : one.first}`));

  const runCard = (run, number) => el('article', { class: 'card' },
    el('div', { class: 'titled' }, el('h3', {}, several() ? swatch(number) : null, run.name), state(run)),
    el('p', {}, run.sentence),
    el('dl', {}, Object.entries({ 'k-NN': run.quality, loss: run.loss, ...run.facts })
      .filter(([, text]) => text).map(([name, text]) => [el('dt', {}, name), el('dd', {}, text)])),
    run.warnings.length + run.notes.length
      ? el('ul', { class: 'warnings', 'aria-label': 'Warnings' }, run.notes.map((text) => el('li', {}, text)), run.warnings.map(warning))
      : el('p', { class: 'soft' }, 'No warnings.'));

  const changed = () => table(
    [el('th', { scope: 'col' }, 'Setting'), content.runs.map((run, number) => el('th', { scope: 'col' }, swatch(number), run.name))],
    Object.entries(content.differences).map(([name, values]) => el('tr', {}, el('th', { scope: 'row', class: 'code' }, name),
      values.map((value, number) => el('td', { class: 'code', 'data-name': content.runs[number].name }, value || '–')))),
    'Settings that differ', 'stacked');

  const scorecard = (card) => el('div', {}, several() ? el('h3', { class: 'group' }, card.run) : null,
    table([el('th', { scope: 'col' }, 'Measure'), card.networks.map((name) => el('th', { scope: 'col', class: 'number' }, name))],
      card.rows.map(([name, ...values]) => el('tr', {}, el('th', { scope: 'row' }, name),
        values.map((value) => el('td', { class: 'number' }, value)))), 'Scorecard'),
    el('div', { class: 'parts' }, card.pictures.map((picture) => el('figure', {},
      el('img', { src: picture.source, alt: `Patch features as colours: ${picture.name}`, loading: 'lazy' }),
      el('figcaption', {}, picture.name)))));

  const folded = (title, text) => (text ? el('details', {}, el('summary', {}, title), el('pre', { tabindex: 0 }, text)) : null);

  const index = () => {
    const form = el('form', { action: 'runs' });
    const columns = [['Iteration', (run) => group(run.step)], ['Loss', (run) => run.loss], ['k-NN', (run) => run.quality],
      ['Started', (run) => run.started]];
    const rows = content.runs.map((run) => el('tr', {},
      el('td', {}, el('input', { type: 'checkbox', name: 'run', value: run.name, 'aria-label': `Choose ${run.name}` })),
      el('th', { scope: 'row' }, el('a', { href: `runs?run=${encodeURIComponent(run.name)}` }, run.name)),
      el('td', {}, state(run)),
      columns.map(([name, value]) => el('td', { class: 'number', 'data-name': name }, value(run) || '–'))));
    const head = [el('td', {}), el('th', { scope: 'col' }, 'Run'), el('th', { scope: 'col' }, 'State'),
      columns.map(([name]) => el('th', { scope: 'col', class: 'number' }, name))];
    form.append(table(head, rows, 'All runs', 'stacked'),
      el('div', { class: 'controls' }, el('button', {}, 'Show side by side')));
    return form;
  };

  // --- the page ----------------------------------------------------------------------------------------------------

  // Each part: its id, title, and what makes it; a part without content is left out.
  const PARTS = [
    ['runs', several() ? 'Runs' : 'Run', (c) => c.runs, () => el('div', { class: 'grid filled' }, content.runs.map(runCard))],
    ['differences', 'What differs', (c) => (c.runs.length > 1 ? Object.keys(c.differences) : []), changed],
    ['curves', 'Curves', (c) => c.panels, null],
    ['pictures', 'Pictures', (c) => c.pictures, () => el('div', { class: several() ? 'wide' : 'grid pictures' }, content.pictures.map(series))],
    ['films', 'Films', (c) => c.films, () => [el('p', { class: 'about' }, content.films[0].about),
      el('div', { class: 'grid' }, content.films.map(film))]],
    ['scorecard', 'Scorecard', (c) => c.scorecards, () => content.scorecards.map(scorecard)],
    ['settings', 'Config and environment', (c) => c.runs.filter((run) => run.config || run.environment), () => content.runs.map((run) => {
      const of = several() ? ` of ${run.name}` : '';
      return [folded(`Config${of}`, run.config), folded(`Environment${of}`, run.environment)];
    })],
  ];

  const empty = () => section('runs', 'No run yet', el('p', {}, `There is no training in ${content.given.join(', ')}.`),
    el('p', {}, 'A working directory has a folder named after a date, with a log and vis_data/scalars.json in it. '
      + 'Give the --work-dir of a training, or a folder that holds some.'));

  const build = () => {
    const there = PARTS.filter(([, , needed]) => needed(content).length);
    main.replaceChildren(...(content.runs.length
      ? there.map(([id, title, , make]) => (id === 'curves' ? curves() : section(id, title, make()))) : [empty()]));
    document.querySelector('nav').replaceChildren(
      ...(content.others ? [el('a', { href: './' }, 'All runs')] : []),
      ...there.map(([id, title]) => el('a', { href: `#${id}` }, title)));
  };

  // New content of the same runs: curves keep their zoom, and parts that have not changed are left alone.
  const renew = (fresh) => {
    const before = content;
    content = fresh;
    const same = (part) => JSON.stringify(part(before)) === JSON.stringify(part(fresh));
    const layoutKept = same((c) => [c.runs.map((run) => run.name), c.panels.map((panel) => panel.name)])
      && PARTS.every(([, , needed]) => !needed(before).length === !needed(fresh).length);
    if (!layoutKept) { build(); return; }
    for (const spec of fresh.panels) {
      const panel = panels.get(spec.name);
      if (JSON.stringify(panel.spec) === JSON.stringify(spec)) continue;
      fill(panel, spec);
      if (panel.drawn) draw(panel);
    }
    for (const [id, title, needed, make] of PARTS) {
      if (make && needed(fresh).length && !same(needed)) document.getElementById(id).replaceWith(section(id, title, make()));
    }
  };

  const renewIndex = (fresh) => {
    const chosen = new Set([...document.querySelectorAll('input[name=run]:checked')].map((box) => box.value));
    content = fresh;
    main.replaceChildren(section('runs', 'All runs', index()));
    for (const box of document.querySelectorAll('input[name=run]')) box.checked = chosen.has(box.value);
  };

  const sign = (text) => { document.querySelector('footer').textContent = text; };
  const written = () => sign(`Written ${content.written} by dino_plugin ${content.version}.`);

  const ask = async () => {
    if (!document.hidden) await news();
    setTimeout(ask, 1000 * content.seconds);
  };

  const news = async () => {
    try {
      const answer = await fetch(`content${location.search}`, { cache: 'no-store' });
      if (!answer.ok) throw new Error(answer.statusText);
      const fresh = await answer.json();
      if (!fresh.index !== !content.index || !fresh.runs.length) { content = fresh; start(); }
      else if (fresh.index) renewIndex(fresh);
      else renew(fresh);
      written();
    } catch (error) {
      sign(`The server does not answer. This is what it said ${content.written}.`);
    }
  };

  const start = () => {
    if (content.index) main.replaceChildren(section('runs', 'All runs', index()));
    else build();
  };

  dark.addEventListener('change', () => {
    for (const mark of document.querySelectorAll('.swatch')) mark.style.background = colour(Number(mark.dataset.run));
    redraw();
  });
  start();
  written();
  if (content.seconds) setTimeout(ask, 1000 * content.seconds);
})();
