'use strict';
/* Everything that moves on the page. Text from records enters as textContent or attribute, never as markup,
   and into Plotly, which reads some tags in its labels, through `plain`. */

const data = JSON.parse(document.getElementById('data').textContent);
const find = (id) => document.getElementById(id);
const DASHES = ['solid', 'dash', 'dot', 'dashdot', 'longdash', 'longdashdot'];
/* The score that everything goes by: mIoU, or where a set lacks classes mIoU.labelled. */
const SCORE = data.leading[0];
const MEANS = Object.fromEntries(data.means.map((key) => [key, { aAcc: 'overall accuracy', mAcc: 'mean accuracy' }[key] || key]));
for (const key of new Set(data.runs.flatMap((run) => Object.keys(run.series)))) {
  if (key === 'BIoU') MEANS.BIoU = 'Boundary IoU';
  if (key.startsWith('trimap.')) MEANS[key] = `mIoU within ${key.slice(7)} px of an edge`;
}
/* More experiments than these begin with one curve each. */
const CROWD = 3;
const UNLABELLED = 0xff888888;
const SHOWN = 0.05; /* points; less is 0.0 in the tables */
/* Places of a film's run that are no picture of an iteration. */
const SOURCE = 'source', NEVER = 'never';
/* Titles of axes, for a reader who has not seen the study. */
const UPDATES = { title: { text: 'updates (training iterations done)' } };
const IOU = 'IoU of the validation images, %';
const redraws = [];
/* Pixels of a chart's width on paper, null on a screen. */
let paper = null;

function plain(text) {
  // A zero-width space keeps `%{` of a name from being a field of a hover text.
  return String(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('%{', '%\u200b{');
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function layout(more) {
  const axis = { gridcolor: colour('line'), zerolinecolor: colour('line'), automargin: true, fixedrange: false };
  return {
    paper_bgcolor: colour('page'), plot_bgcolor: colour('page'), font: { color: colour('text'), size: 13 },
    margin: { l: 55, r: 15, t: 20, b: 50 }, hovermode: 'closest', showlegend: false, ...(paper ? { width: paper, height: 340 } : {}), ...more,
    xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
  };
}

function draw(id, traces, shape) {
  Plotly.react(find(id), traces, layout(shape), { responsive: true, displayModeBar: false });
}

function options(select, names) {
  names.forEach((name, place) => select.append(make('option', { value: place }, name)));
}

function percent(value) {
  if (value === null || value === undefined) return '-';
  // As Python rounds in the tables: of two equally near, 7.2 and 7.3 of 7.25, the even one.
  return (value % 1 === 0.25 ? value - 0.01 : value).toFixed(1);
}

/* Theme */

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  find('theme').textContent = name === 'dark' ? 'Light' : 'Dark';
  redraws.forEach((redraw) => redraw());
}

/* Curves */

/* The mean and range of a group's curves; `curveOf` gives a run's iterations and scores, or null. */
function meanOf(group, curveOf) {
  const curves = group.runs.map((place) => curveOf(data.runs[place])).filter((curve) => curve);
  const maps = curves.map(([iterations, scores]) => new Map(iterations.map((x, i) => [x, scores[i]]).filter((p) => p[1] !== null)));
  const shared = maps.length ? [...maps[0].keys()].filter((x) => maps.every((map) => map.has(x))) : [];
  const values = shared.map((x) => maps.map((map) => map.get(x)));
  return {
    x: shared, runs: maps.length,
    mean: values.map((v) => v.reduce((a, b) => a + b, 0) / v.length),
    low: values.map((v) => Math.min(...v)), high: values.map((v) => Math.max(...v)),
  };
}

const seriesOf = (group, key) => meanOf(group, (run) => (key in run.series ? [run.iterations, run.series[key]] : null));

/* A group's curve, and of several runs the band around it. */
function bandAndLine(group, { x, runs, mean, low, high }, title, line, mode = x.length > 60 ? 'lines' : 'lines+markers') {
  const traces = [], name = plain(group.name);
  if (runs > 1) {
    traces.push({ x: [...x, ...[...x].reverse()], y: [...high, ...[...low].reverse()], fill: 'toself', mode: 'none', fillcolor: `${group.colour}33`, hoverinfo: 'skip', showlegend: false });
  }
  traces.push({
    x, y: mean, name: `${name}, ${plain(title)}`, meta: `${group.name}, ${title}`, mode, marker: { size: 5 },
    line: { color: group.colour, ...line },
    customdata: mean.map((_, i) => [low[i], high[i]]),
    hovertemplate: `${name}<br>${plain(title)} %{y:.2f} %<br>iteration %{x}` + (runs > 1 ? '<br>%{customdata[0]:.2f} to %{customdata[1]:.2f}' : '') + '<extra></extra>',
  });
  return traces;
}

function curveTraces(chosen) {
  const traces = [];
  // By all there are, so that a line looks the same whatever else is chosen.
  const keys = [...new Set([...Object.keys(MEANS), ...data.runs.flatMap((run) => Object.keys(run.series))])];
  data.groups.forEach((group) => {
    chosen.forEach((key) => {
      const series = seriesOf(group, key);
      if (!series.x.length) return;
      const line = { dash: DASHES[keys.indexOf(key) % DASHES.length], width: key === SCORE ? 3 : 1.6 };
      traces.push(...bandAndLine(group, series, MEANS[key] || key.replace(/^IoU\./, ''), line));
    });
    const { x, mean } = seriesOf(group, SCORE), lowest = mean.indexOf(Math.min(...mean));
    if (chosen.includes(SCORE) && x[0] === 0 && mean[0] - mean[lowest] >= SHOWN) {
      traces.push({ x: [x[lowest]], y: [mean[lowest]], mode: 'markers', showlegend: false, marker: { symbol: 'circle-open', size: 14, color: group.colour, line: { width: 2 } }, hovertemplate: `${plain(group.name)}<br>lowest ${SCORE} %{y:.2f} %<br>iteration %{x}<extra></extra>` });
    }
    const probed = chosen.includes('probe') ? group.runs.map((place) => data.runs[place]).filter((run) => run.probe.iterations.length) : [];
    probed.forEach((run) => traces.push({ x: run.probe.iterations, y: run.probe.scores, mode: 'lines', name: `${plain(run.name)}, probe`, meta: `${run.name}, probe`, line: { color: group.colour, width: 1, dash: 'dashdot' }, hovertemplate: `${plain(run.name)}<br>probe, ${SCORE} %{y:.2f} %<br>iteration %{x}<extra></extra>` }));
  });
  return traces;
}

function lineSample(line) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg'), path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  svg.setAttribute('viewBox', '0 0 36 8');
  svg.setAttribute('class', 'line');
  svg.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', 'M0 4H36');
  path.setAttribute('stroke', line.color);
  path.setAttribute('stroke-width', line.width);
  path.setAttribute('stroke-dasharray', { dash: '7 4', dot: '2 3', dashdot: '7 3 2 3', longdash: '12 4', longdashdot: '12 3 2 3' }[line.dash] || '');
  svg.append(path);
  return svg;
}

/* The chart and the legend of curves over iterations. */
function drawCurves(id, traces, yaxis) {
  find(`${id}-legend`).replaceChildren(...traces.filter((trace) => trace.name).map((trace) => make('li', {}, lineSample(trace.line), trace.meta)));
  draw(`${id}-chart`, traces, {
    xaxis: UPDATES, yaxis,
    shapes: [{ type: 'line', x0: 0, x1: 0, yref: 'paper', y0: 0, y1: 1, line: { color: colour('quiet'), dash: 'dot', width: 1 } }],
  });
}

function startCurves() {
  const form = find('curve-choice'), seen = new Map();
  data.runs.forEach((run) => run.classes.forEach((c) => seen.set(c.name, c.seen)));
  const box = (key, title, on) => {
    const input = make('input', { type: 'checkbox', value: key });
    input.checked = on;
    return make('label', {}, input, ` ${title}`);
  };
  const means = make('fieldset', {}, make('legend', {}, 'Means'));
  Object.entries(MEANS).forEach(([key, title]) => means.append(box(key, title, data.leading.slice(0, data.groups.length > CROWD ? 1 : 3).includes(key))));
  if (data.runs.some((run) => run.probe.iterations.length)) means.append(box('probe', `${SCORE} of the probe`, true));
  const classes = make('fieldset', {}, make('legend', {}, 'Classes (● seen)'));
  seen.forEach((isSeen, name) => classes.append(box(`IoU.${name}`, (isSeen ? '● ' : '') + name, false)));
  const runs = make('fieldset', {}, make('legend', {}, 'Runs'));
  data.groups.forEach((group) => runs.append(make('span', { class: 'legend' }, swatch(group.colour), group.name, make('br'))));
  form.append(runs, means, classes);
  const redraw = () => {
    const chosen = [...form.querySelectorAll('input:checked')].map((input) => input.value);
    const title = chosen.some((key) => key === 'aAcc' || key === 'mAcc') ? IOU.replace('IoU', 'IoU and accuracy') : IOU;
    drawCurves('curve', curveTraces(chosen), { title: { text: title }, rangemode: 'tozero' });
  };
  form.addEventListener('change', redraw);
  redraws.push(redraw);
}

/* New classifier or features */

const READINGS = {
  head: ['new classifier', { dash: 'solid', width: 2.4 }],
  features: ["source's classifier", { dash: 'dash', width: 1.6 }],
  source: ["source's view", { dash: 'dot', width: 1 }, 'lines'],
};

function startReadout() {
  const select = find('readout-score');
  const keys = [...new Set(data.runs.flatMap((run) => Object.keys(run.readout)))];
  keys.forEach((key) => select.append(make('option', { value: key }, key === 'seen' ? 'mean of the seen classes' : key.replace(/^IoU\./, ''))));
  const redraw = () => {
    const curveOf = (reading) => (run) => {
      const found = run.readout[select.value];
      if (!found || found[reading] === null) return null;
      return [found.iterations, reading === 'source' ? found.iterations.map(() => found.source) : found[reading]];
    };
    const traces = data.groups.flatMap((group) => Object.entries(READINGS).flatMap(([reading, [title, line, mode]]) => {
      const series = meanOf(group, curveOf(reading));
      return series.x.length ? bandAndLine(group, series, title, line, mode) : [];
    }));
    drawCurves('readout', traces, { title: { text: IOU } });
  };
  select.addEventListener('change', redraw);
  redraws.push(redraw);
}

/* Cost */

function startCosts() {
  const select = find('cost-axis'), { axes, last } = data.costs;
  options(select, axes.map((axis) => axis.title));
  find('cost-legend').append(...data.groups.map((group, i) => make('li', { class: 'legend' }, swatch(group.colour), `${i + 1} ${group.name}`)));
  const redraw = () => {
    const axis = axes[select.value];
    find('cost-front').textContent = axis.sentence;
    const traces = [{ x: axis.front.map((i) => axis.costs[i]), y: axis.front.map((i) => last[i][0]), mode: 'lines', line: { shape: 'hv', color: colour('quiet'), width: 1.5 }, hoverinfo: 'skip' }];
    data.groups.forEach((group, i) => {
      const [mean, low, high] = last[i];
      if (axis.costs[i] === null) return;
      traces.push({
        x: [axis.costs[i]], y: [mean], name: plain(group.name), text: [String(i + 1)], mode: 'markers+text', textposition: 'top left', cliponaxis: false, marker: { size: 10, color: group.colour },
        error_y: { visible: low !== null, type: 'data', symmetric: false, array: [high - mean], arrayminus: [mean - low], color: group.colour },
        hovertemplate: `${plain(group.name)}<br>${SCORE} %{y:.2f} %${low === null ? '' : ` [${low.toFixed(2)}, ${high.toFixed(2)}]`}<br>${axis.shown[i]}<extra></extra>`,
      });
    });
    draw('cost-chart', traces, {
      xaxis: { title: { text: axis.title }, tickformat: '~s', ...(axis.log ? { type: 'log', dtick: 'D2' } : { type: 'linear', rangemode: 'tozero' }) },
      yaxis: { title: { text: `last ${SCORE}, %` } },
    });
  };
  select.addEventListener('change', redraw);
  redraws.push(redraw);
}

/* Classes */

function startHeat() {
  const select = find('heat-run');
  options(select, data.runs.map((run) => run.name));
  const redraw = () => {
    const run = data.runs[select.value], classes = [...run.classes].reverse();
    draw('heat-chart', [{
      type: 'heatmap', x: run.iterations, y: classes.map((c) => plain((c.seen ? '● ' : '') + c.name)),
      z: classes.map((c) => run.series[`IoU.${c.name}`]), zmin: 0, zmax: 100, colorscale: 'Viridis', hoverongaps: false,
      colorbar: { title: { text: 'IoU %' }, thickness: 12 },
      hovertemplate: '%{y}<br>IoU %{z:.2f} %<br>iteration %{x}<extra></extra>',
    }], { xaxis: UPDATES, yaxis: { type: 'category', dtick: 1 } });
    find('heat-shown').textContent = `IoU of each class as training goes on: ${run.name}${run.absent ? ` (${run.absent} absent classes left out)` : ''}`;
  };
  select.addEventListener('change', redraw);
  redraws.push(redraw);
}

/* Film strip */

function swatch(colour) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 1 1');
  svg.setAttribute('aria-hidden', 'true');
  const square = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
  square.setAttribute('width', '1');
  square.setAttribute('height', '1');
  square.setAttribute('fill', colour);
  svg.append(square);
  return svg;
}

function legend(title, entries) {
  const list = make('ul', { 'aria-label': title });
  entries.forEach(([name, value]) => list.append(make('li', {}, swatch(value), name)));
  return [make('p', { class: 'small' }, title), list];
}

async function decode(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}

async function drawDifference(canvas, prediction, truth) {
  const images = await Promise.all([decode(prediction), decode(truth)]);
  if (canvas.dataset.wanted !== prediction) return;
  const [width, height] = [images[1].naturalWidth, images[1].naturalHeight];
  const pixels = images.map((image) => {
    const scratch = make('canvas', { width, height }).getContext('2d', { willReadFrequently: true });
    scratch.imageSmoothingEnabled = false;
    scratch.drawImage(image, 0, 0, width, height);
    return scratch.getImageData(0, 0, width, height);
  });
  const [predicted, labels] = pixels.map((p) => new Uint32Array(p.data.buffer));
  const found = new ImageData(width, height), out = new Uint32Array(found.data.buffer);
  // ABGR: what is not labelled stays grey, wrong is red, right is white.
  for (let i = 0; i < out.length; i += 1) out[i] = labels[i] === UNLABELLED ? UNLABELLED : predicted[i] === labels[i] ? 0xffffffff : 0xff2f24d1;
  canvas.width = width;
  canvas.height = height;
  canvas.getContext('2d').putImageData(found, 0, 0);
}

const scoreAt = (run, i) => (run.miou[i] === null ? `probe ${percent(run.probe[i])} %` : `${percent(run.miou[i])} %`);

/* A row of pictures for each run: the source's view, a few iterations, and once for all that share it the truth. */
function showStrip(film, image) {
  const most = Math.max(...film.runs.map((run) => run.strip.length));
  const cell = (uri, alt, ...caption) => make('td', {}, ...(uri ? [make('img', { src: uri, alt }), ...caption] : []));
  let shared = null;
  find('strip-shown').textContent = `${image.name}: what each run predicts, with its ${SCORE} on the whole validation set`;
  find('strip').replaceChildren(...film.runs.map((run) => {
    const own = run.images[image.name], truth = (own && own.truth) || image.truth;
    const row = make('tr', { 'data-run': run.name }, make('th', { scope: 'row' }, run.name));
    row.append(cell(own && own.source, `${run.name}, source's view`, "source's view", make('br'), `${percent(run.source_miou)} %`));
    for (let i = 0; i < most; i += 1) {
      const place = run.strip[i], when = `iteration ${run.iterations[place]}`;
      row.append(place === undefined ? make('td') : cell(own && own.frames[place], `${run.name}, ${when}`, when, make('br'), scoreAt(run, place)));
    }
    if (shared && shared.truth === truth) shared.cell.rowSpan += 1;
    else {
      shared = { truth, cell: cell(truth, `true labels of ${image.name}`, 'truth') };
      row.append(shared.cell);
      // Below the truth, where a second row has room for it.
      const place = film.runs.length > 1 ? shared.cell : row.firstChild;
      if (image.image) place.append(make('img', { src: image.image, alt: `image ${image.name}` }), 'image');
    }
    return row;
  }));
}

class Film {
  constructor(film) {
    this.film = film;
    // The source's own view is before every iteration.
    this.steps = [null, ...new Set(film.runs.flatMap((run) => run.iterations))].sort((a, b) => (a === null ? -1 : b === null ? 1 : a - b));
    if (!film.runs.some((run) => Object.values(run.images).some((image) => image.source))) this.steps.shift();
    this.places = film.runs.map(() => 0);
    this.threshold = null;
    this.timer = null;
    this.slider = find('film-slider');
    this.slider.max = this.steps.length - 1;
    options(find('film-image'), film.images.map((image) => image.name));
    film.thresholds.forEach((threshold) => {
      const button = make('button', { type: 'button', 'data-threshold': threshold, 'aria-pressed': 'false' }, `at ${threshold / 100} ${SCORE}`);
      button.disabled = !film.runs.some((run) => threshold in run.marks);
      button.addEventListener('click', () => this.jump(threshold));
      find('film-marks').append(button);
    });
    this.buildTiles();
    find('film-image').addEventListener('change', () => this.choose());
    this.slider.addEventListener('input', () => this.go(Number(this.slider.value)));
    find('film-play').addEventListener('click', () => this.play(this.timer === null));
    this.go(0);
    this.choose();
  }

  choose() {
    showStrip(this.film, this.film.images[find('film-image').value]);
    this.show();
  }

  buildTiles() {
    const pair = (...figures) => find('film-tiles').append(make('div', { class: 'pair' }, ...figures.map((parts) => make('figure', {}, ...parts))));
    const caption = (text = '') => make('figcaption', {}, text);
    this.photograph = make('img', { alt: '' });
    this.truth = make('img', { alt: '' });
    pair([this.photograph, caption('image')], [this.truth, caption('truth')]);
    this.tiles = this.film.runs.map((run) => {
      const parts = { image: make('img', { alt: '', 'data-run': run.name }), text: caption(), canvas: make('canvas', { role: 'img' }), note: caption() };
      pair([parts.image, parts.text], [parts.canvas, parts.note]);
      return parts;
    });
    const shown = new Map();
    this.film.runs.forEach((run) => {
      shown.set(JSON.stringify(run.legend), ['Classes', run.legend]);
      if (run.source_legend.length) shown.set(JSON.stringify(run.source_legend), ["Classes of the source model's own view", run.source_legend]);
    });
    shown.forEach(([title, entries]) => find('film-legend').append(...legend(title, entries)));
  }

  go(step) {
    this.threshold = null;
    const wanted = this.steps[step];
    // The newest picture that each run has at this iteration.
    this.places = this.film.runs.map((run) => (wanted === null ? SOURCE : run.iterations.filter((i) => i <= wanted).length - 1));
    this.slider.value = step;
    this.show();
  }

  jump(threshold) {
    this.play(false);
    const reached = this.film.runs.map((run) => run.marks[threshold]).filter((i) => i !== undefined);
    this.go(Math.max(0, this.steps.filter((step) => step <= Math.max(...reached)).length - 1));
    this.threshold = threshold;
    this.places = this.film.runs.map((run) => (threshold in run.marks ? run.iterations.indexOf(run.marks[threshold]) : NEVER));
    this.show();
  }

  play(on) {
    clearInterval(this.timer);
    this.timer = on ? setInterval(() => this.go((Number(this.slider.value) + 1) % this.steps.length), 500) : null;
    find('film-play').setAttribute('aria-pressed', String(on));
    find('film-play').textContent = on ? 'Pause' : 'Play';
  }

  show() {
    const image = this.film.images[find('film-image').value], step = this.steps[this.slider.value];
    const place = this.threshold === null ? (step === null ? "source model's own view" : `iteration ${step}`) : `each run's first at ${this.threshold / 100} ${SCORE}`;
    find('film-place').textContent = place;
    this.slider.setAttribute('aria-valuetext', place);
    find('film-marks').querySelectorAll('button').forEach((button) => button.setAttribute('aria-pressed', String(Number(button.dataset.threshold) === this.threshold)));
    this.set(this.photograph, image.image, `image ${image.name}`);
    this.set(this.truth, image.truth, `true labels of ${image.name}`);
    this.film.runs.forEach((run, i) => this.showRun(run, this.tiles[i], this.places[i], image));
  }

  showRun(run, tile, place, image) {
    const name = run.name, own = run.images[image.name], at = `${this.threshold / 100} ${SCORE}`;
    const frame = !own ? null : place === SOURCE ? own.source : place === NEVER || place < 0 ? null : own.frames[place];
    const score = (i) => (run.miou[i] === null ? `probe at ${percent(run.probe[i])} %` : `whole set at ${percent(run.miou[i])} %`);
    let text = `${name}: no picture here`;
    if (own && place === NEVER) text = `${name}: never at ${at}`;
    else if (own && place < 0) text = this.threshold === null ? `${name}: no picture yet` : `${name}: no picture where it is first at ${at}`;
    else if (frame && place === SOURCE) text = `${name}: source model, whole set at ${percent(run.source_miou)} % ${SCORE}`;
    else if (frame) text = `${name}: iteration ${run.iterations[place]}, ${score(place)} ${SCORE}, this image ${percent(own.miou[place])} %`;
    tile.text.textContent = text;
    this.set(tile.image, frame, text);
    const predicted = frame && place !== SOURCE;
    tile.image.dataset.iteration = predicted ? run.iterations[place] : '';
    const truth = own && (own.truth || image.truth), compared = predicted && truth;
    tile.canvas.dataset.wanted = compared ? frame : '';
    tile.canvas.setAttribute('aria-label', compared ? `where ${text} differs from the truth` : 'no difference to show');
    tile.note.textContent = compared ? `${name}: difference to the truth` : `${name}: no difference to show`;
    if (compared) drawDifference(tile.canvas, frame, truth);
    else tile.canvas.width = tile.canvas.width;
  }

  set(element, uri, text) {
    if (uri) element.src = uri;
    else element.removeAttribute('src');
    element.alt = text;
  }
}

/* Confusion */

function matrix(encoded, place, rows, columns) {
  const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
  const all = new DataView(bytes.buffer), start = place * rows * columns;
  return Array.from({ length: rows }, (_, r) => {
    const counts = Array.from({ length: columns }, (__, c) => all.getFloat64(8 * (start + r * columns + c), true));
    const total = counts.reduce((a, b) => a + b, 0);
    return counts.map((count) => (total ? (100 * count) / total : null));
  });
}

function tableRow(name, shares, columns, right) {
  const most = shares[0] === null ? -1 : shares.indexOf(Math.max(...shares));
  const cells = most < 0 ? ['-', '-', '-'] : [right === null ? '-' : percent(shares[right]), columns[most], percent(shares[most])];
  return make('tr', {}, make('th', { scope: 'row' }, name), ...cells.map((cell) => make('td', {}, cell)));
}

function startConfusion() {
  const select = find('confusion-run'), slider = find('confusion-slider');
  let shown = null;
  options(select, data.confusions.map((entry) => data.runs[entry.run].name));
  const redraw = () => {
    const entry = data.confusions[select.value], first = entry.source ? 1 : 0;
    slider.max = entry.iterations.length - 1 + first;
    const place = Number(slider.value) - first, own = place < 0;
    const columns = own ? entry.source_classes : entry.classes;
    shown = entry.iterations[place] ?? null;
    const shares = own ? matrix(entry.source, 0, entry.classes.length, columns.length) : matrix(entry.counts, place, entry.classes.length, columns.length);
    const where = own ? "source model's own view" : `iteration ${entry.iterations[place]}`;
    find('confusion-place').textContent = where;
    find('confusion-shown').textContent = `What each labelled class is predicted as: ${data.runs[entry.run].name}, ${where}`;
    slider.setAttribute('aria-valuetext', where);
    find('confusion-table').replaceChildren(...entry.classes.map((name, row) => tableRow(name, shares[row], columns, own ? entry.right[row] : row)));
    draw('confusion-chart', [{
      type: 'heatmap', x: columns.map(plain), y: [...entry.classes].reverse().map(plain), z: [...shares].reverse(), customdata: [...shares].reverse().map((row) => row.map(percent)), zmin: 0, zmax: 100,
      colorscale: 'Viridis', hoverongaps: false, colorbar: { title: { text: '%' }, thickness: 12 },
      hovertemplate: 'labelled %{y}<br>predicted %{x}<br>%{customdata} % of the labelled pixels<extra></extra>',
    }], { xaxis: { type: 'category', dtick: 1, tickangle: -60, title: { text: 'predicted' } }, yaxis: { type: 'category', dtick: 1, title: { text: 'labelled' } } });
  };
  select.addEventListener('change', () => {
    // The newest that the other run has at the same iteration.
    const entry = data.confusions[select.value], first = entry.source ? 1 : 0;
    const place = shown === null ? 0 : entry.iterations.filter((i) => i <= shown).length - 1 + first;
    slider.max = entry.iterations.length - 1 + first;
    slider.value = Math.max(0, place);
    redraw();
  });
  slider.addEventListener('input', redraw);
  redraws.push(redraw);
}

/* Paper: light, everything unfolded, charts as wide as A4 within its margins; then as before. */

function startPrinting() {
  let theme = null, folded = [];
  addEventListener('beforeprint', () => {
    theme = document.documentElement.dataset.theme;
    folded = [...document.querySelectorAll('details:not([open])')];
    folded.forEach((element) => { element.open = true; });
    paper = 700;
    setTheme('light');
  });
  addEventListener('afterprint', () => {
    folded.forEach((element) => { element.open = false; });
    paper = null;
    setTheme(theme);
  });
}

startCurves();
if (find('readout-score')) startReadout();
if (data.costs.axes.length) startCosts();
startHeat();
if (data.film.images.length) new Film(data.film);
if (data.confusions.length) startConfusion();
find('theme').addEventListener('click', () => setTheme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'));
setTheme(matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
startPrinting();
