// Draws the figures of `sluice dashboard`: from its events while it is live, or from the data of a report.
// All that came from the log is set as text or as a number, never as markup: no element is ever made out of it.
'use strict';

const SVG = 'http://www.w3.org/2000/svg';
const SILENCE_MS = 16000;
const RETRY_MS = 2000;

const COURSES = {
  ended: 'let out', refused: 'refused', would_deny: 'would deny', limited: 'limited', failed: 'failed', revoked: 'cut', flagged: 'flagged',
};
const REASONS = {
  not_allowed: 'no rule allows it', not_authenticated: 'no proxy password, or a wrong one', denied_by_rule: 'a deny rule names it', expired: 'its rule has expired',
  rate_limited: 'over its rate', too_many: 'too many at once', address_refused: 'its address is not public',
  bad_request: 'malformed, or can be read in two ways', no_sni: 'its TLS names no server', sni_mismatch: 'its TLS names another server',
  not_tls: 'no TLS where the rule wants it', ech_refused: 'encrypted ClientHello', authority_mismatch: 'it names another host than its tunnel',
  method_refused: 'a method that its rule does not name',
  path_refused: 'a path that its rule does not name', resolve_failed: 'its name has no address', connect_failed: 'its server did not answer',
  timeout: 'too slow', loop: 'it leads to the gate itself', upstream_untrusted: 'its certificate did not verify',
  content_refused: 'its content', secret_refused: 'it carries a secret', credential_failed: 'its credential could not be had',
  not_approved: 'nobody approved it', shutdown: 'the gate was ending', log_unwritable: 'the log could not be written',
};

const $ = (id) => document.getElementById(id);
const narrow = matchMedia('(max-width: 44rem)');
const count = (number) => number.toLocaleString('en-US');

// What a page is: whose figures, over which time, live or not.
const view = { gate: '', client: '', span: '10m', isPaused: false, isChosen: false, figures: null, at: null, source: null, heardMs: 0 };

// MARK: elements

/** An element with attributes and children; a string is a text. */
function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function makeSVG(name, attributes = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function set(node, key, value) {
  if (node.getAttribute(key) !== value) node.setAttribute(key, value);
}

/** Brings the children of `parent` in line with `items`, each under its key, so that focus and open details stay. */
function keep(parent, items, keyOf, create, update) {
  const known = parent.kept || (parent.kept = new Map());
  const focused = document.activeElement;
  const seen = new Set();
  items.forEach((item, index) => {
    const key = keyOf(item);
    if (seen.has(key)) return;
    seen.add(key);
    let node = known.get(key);
    if (!node) known.set(key, (node = create(item)));
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] || null);
    update(node, item);
  });
  for (const [key, node] of known) {
    if (!seen.has(key)) { node.remove(); known.delete(key); }
  }
  if (focused && focused !== document.activeElement && parent.contains(focused)) focused.focus();
}

/** What is said in place of a list that has nothing in it; true when it has. */
function empty(parent, isEmpty, text) {
  if (isEmpty !== Boolean(parent.sayingNothing)) {
    parent.replaceChildren();
    parent.sayingNothing = isEmpty ? parent.appendChild(make('p', { class: 'empty' })) : null;
  }
  if (isEmpty) say(parent.sayingNothing, text);
  return isEmpty;
}

/** What a list leaves out. */
function more(parent, text) {
  const line = parent.querySelector(':scope > .more') || make('p', { class: 'more' });
  if (!text || (parent.allButton && parent.allButton.parentNode && !parent.showsAll)) return line.remove();
  say(line, text);
  if (line.parentNode !== parent) parent.append(line);
}

/** The first items of a list, and a button for the others; `redraw` when it is pressed. */
function some(parent, items, most) {
  const first = narrow.matches ? Math.ceil(most / 2) : most;
  const button = parent.querySelector(':scope > .all') || make('button', { type: 'button', class: 'all', 'aria-expanded': 'false' });
  if (!parent.allButton) {
    parent.allButton = button;
    button.addEventListener('click', () => {
      parent.showsAll = !parent.showsAll;
      if (view.figures) draw(view.figures);
    });
  }
  if (items.length <= first) parent.allButton.remove();
  else if (parent.allButton.parentNode !== parent) parent.append(parent.allButton);
  set(parent.allButton, 'aria-expanded', String(Boolean(parent.showsAll)));
  say(parent.allButton, parent.showsAll ? `Show ${first}` : `Show all ${items.length}`);
  return parent.showsAll ? items : items.slice(0, first);
}

/** A table whose columns are {title, kind, text(item)} or {title, kind, create(), update(cell, item)}. */
function table(parent, label, columns, all, keyOf, first = 8) {
  const items = some(parent, all, first);
  let body = parent.querySelector(':scope > table > tbody');
  if (!body) {
    const heads = columns.map((column) => make('th', { scope: 'col', role: 'columnheader', class: column.kind || '' }, column.title));
    body = make('tbody', { role: 'rowgroup' });
    const head = make('thead', { role: 'rowgroup' }, make('tr', { role: 'row' }, ...heads));
    parent.prepend(make('table', { role: 'table', 'aria-label': label, class: parent.id }, head, body));
  }
  keep(body, items, keyOf, () => make('tr', { role: 'row' }, ...columns.map((column) => {
    const cell = make('td', { role: 'cell', class: column.kind || '', 'data-label': column.title });
    if (column.create) cell.append(column.create());
    else if (column.under) cell.append(make('span'), make('span', { class: 'under' }));
    return cell;
  })), (row, item) => columns.forEach((column, index) => {
    const cell = row.children[index];
    if (column.tone) set(cell, 'data-tone', column.tone(item));
    if (column.update) return column.update(cell.firstChild, item);
    if (!column.under) {
      const text = column.text(item);
      cell.classList.toggle('empty-cell', text === '');
      return say(cell, text);
    }
    say(cell.children[0], column.text(item));
    say(cell.children[1], column.under(item));
  }));
}

// MARK: words

function bytes(number) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  let unit = 0;
  let value = number;
  while (value >= 1024 && unit + 1 < units.length) { value /= 1024; unit += 1; }
  return `${unit === 0 || value >= 100 ? Math.floor(value) : value.toFixed(1)} ${units[unit]}`;
}

const pad = (number) => String(number).padStart(2, '0');

function day(ms) {
  const at = new Date(ms);
  return `${at.getUTCFullYear()}-${pad(at.getUTCMonth() + 1)}-${pad(at.getUTCDate())}`;
}

function clock(ms) {
  const at = new Date(ms);
  return `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}:${pad(at.getUTCSeconds())}`;
}

/** With its day, where that is not the day of the figures. */
function moment(ms) {
  return day(ms) === day(view.figures.now_ms) ? clock(ms) : `${day(ms)} ${clock(ms)}`;
}

function duration(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${seconds / 60} min`;
  return seconds < 86400 ? `${seconds / 3600} h` : `${seconds / 86400} days`;
}

const times = (number) => (number === 1 ? '1 time' : `${count(number)} times`);
const reasonText = (name) => (REASONS[name] ? `${name}: ${REASONS[name]}` : name);

/** Whose it is, where there are several. */
const gateOf = (one) => (view.figures.gates.length > 1 ? one.gate : '');
// MARK: attention

const VISIT = 'sluice-visit';
/** When this page was last left, by the clock of the log; 0 on a first visit, and in a report. */
const lastVisitMs = (() => {
  try {
    return Number(localStorage.getItem(VISIT)) || 0;
  } catch {
    return 0;
  }
})();

addEventListener('pagehide', () => {
  try {
    if (view.figures) localStorage.setItem(VISIT, String(view.figures.now_ms));
  } catch {
    // No storage here: each visit is a first one.
  }
});

/** Up to three names, and how many more. */
function firstThree(all) {
  const names = [...new Set(all)];
  return names.slice(0, 3).join(', ') + (names.length > 3 ? ` and ${count(names.length - 3)} more` : '');
}

/** What somebody should look at, the gravest first: {tone, text, at}, `at` being the section that says more. */
function attention(figures) {
  const totals = figures.totals;
  const list = [];
  const of = (reason) => ['denied', 'failed', 'limited', 'revoked', 'flagged'].reduce((sum, event) => sum + (totals[event][reason] || 0), 0);
  const unwritten = of('log_unwritable');
  if (unwritten) list.push({ tone: 'failed', text: `The log could not be written: ${times(unwritten)}. Requests were refused meanwhile.`, at: 'reasons-title' });
  const lost = of('credential_failed');
  if (lost) list.push({ tone: 'failed', text: `A credential could not be had: ${times(lost)}.`, at: 'reasons-title' });
  const secrets = of('secret_refused');
  if (secrets) list.push({ tone: 'flagged', text: `A request carried a secret, and was refused: ${times(secrets)}.`, at: 'flagged-title' });
  if (totals.flagged.all) list.push({ tone: 'flagged', text: `Content was flagged: ${times(totals.flagged.all)}, ${firstThree(figures.flagged.shown.map((one) => one.target))}.`, at: 'flagged-title' });
  const wrong = figures.passwords.shown.reduce((sum, one) => sum + one.count, 0);
  if (wrong) list.push({ tone: 'refused', text: `A password was wrong or missing: ${times(wrong)}.`, at: 'passwords-title' });
  const fresh = figures.refused.shown.filter((one) => one.last_ms > lastVisitMs);
  if (fresh.length) {
    const when = lastVisitMs ? ' since your last visit' : '';
    list.push({ tone: 'refused', text: `${fresh.length === 1 ? 'One target was' : `${count(fresh.length)} targets were`} refused${when}: ${firstThree(fresh.map((one) => one.target))}.`, at: 'refused-title' });
  }
  if (totals.limited.all) {
    const out = figures.buckets.shown.filter((one) => one.tokens === 0).flatMap((one) => one.hosts);
    list.push({ tone: 'limited', text: `Limits refused ${count(totals.limited.all)} ${totals.limited.all === 1 ? 'request' : 'requests'}${out.length ? `; no token is left for ${firstThree(out)}` : ''}.`, at: 'buckets-title' });
  }
  if (figures.limits.shown.length) list.push({ tone: 'limited', text: `A sandbox reached a limit: ${firstThree(figures.limits.shown.map((one) => `${one.client} ${one.limit}`))}.`, at: 'limits-title' });
  return list;
}

function drawAttention(figures) {
  const parent = $('attention');
  say($('attention-unit'), lastVisitMs ? `last visit ${day(lastVisitMs)} ${clock(lastVisitMs)} UTC` : '');
  const all = attention(figures);
  if (empty(parent, all.length === 0, 'Nothing was refused, flagged or limited, and nothing failed.')) return;
  const list = parent.querySelector(':scope > ul') || parent.appendChild(make('ul', { class: 'attention' }));
  keep(list, all, (one) => one.at + one.tone, makeAttention, (node, one) => {
    set(node, 'data-tone', one.tone);
    node.at = one.at;
    say(node.firstChild, one.text);
  });
}

/** A button, since the page has no addresses: its own holds client and time. */
function makeAttention() {
  const button = make('button', { type: 'button' });
  const node = make('li', {}, button);
  button.addEventListener('click', () => $(node.at).scrollIntoView());
  return node;
}

function drawGates(figures) {
  const gates = figures.gate_lines.shown;
  $('gates-section').hidden = gates.length < 2;
  if (gates.length < 2) return;
  table($('gates'), 'Gates', [
    { title: 'Gate', kind: 'who', text: (one) => one.gate },
    { title: 'Lines', kind: 'number', text: (one) => count(one.lines) },
    { title: 'Refused', kind: 'number', text: (one) => count(one.refused) },
    { title: 'Last', kind: 'number time', text: (one) => moment(one.last_ms) },
  ], gates, (one) => one.gate, 12);
  more($('gates'), figures.gate_lines.beyond ? `and ${count(figures.gate_lines.beyond)} lines of more gates` : '');
}

function drawPasswords(figures) {
  const { shown, beyond } = figures.passwords;
  $('passwords-section').hidden = shown.length === 0 && beyond === 0;
  if ($('passwords-section').hidden) return;
  drawSeen('passwords', 'Wrong passwords', figures.passwords, [
    { title: 'Client', kind: 'who', text: (one) => one.client },
    { title: 'Target', kind: 'host', text: (one) => one.target },
  ], '');
}

// MARK: totals

function drawTotals(figures) {
  const totals = figures.totals;
  const sums = Object.fromEntries(figures.timeline.courses.map((course) => [course.name, course.values.reduce((a, b) => a + b, 0)]));
  const over = { '10m': 'in 10 min', '2h': 'in 2 h' }[figures.span];
  const recent = (name) => (over ? `${count(sums[name] || 0)} ${over}` : '');
  const ended = totals.closed.all;
  const list = [
    ['ended', 'Let out', count(ended), recent('ended')],
    ['refused', 'Refused', count(totals.denied.all), recent('refused')],
    ['limited', 'Limited', count(totals.limited.all), recent('limited')],
    ['failed', 'Failed', count(totals.failed.all), recent('failed')],
    ['', 'Bytes up', bytes(totals.bytes_up), ''],
    ['', 'Bytes down', bytes(totals.bytes_down), ''],
  ];
  if (totals.would_deny.all) list.push(['would_deny', 'Would be refused', count(totals.would_deny.all), 'in report mode']);
  if (totals.revoked.all) list.push(['revoked', 'Cut', count(totals.revoked.all), recent('revoked')]);
  if (totals.flagged.all) list.push(['flagged', 'Flagged', count(totals.flagged.all), recent('flagged')]);
  if (totals.credential.all) list.push(['', 'Credential uses', count(totals.credential.all), '']);
  keep($('totals'), list, (one) => one[1], (one) => make('div', { 'data-tone': one[0] }, make('dt'), make('dd'), make('dd', { class: 'sub' })), (node, one) => {
    say(node.children[0], one[1]);
    say(node.children[1], one[2]);
    say(node.children[2], one[3]);
  });
}

// MARK: charts

/** Bars as one path in a box of `width` by `height`. */
function barsPath(values, peak, width, height) {
  const step = width / values.length;
  const bar = Math.max(step * 0.8, step - 1);
  let path = '';
  values.forEach((value, index) => {
    if (value === 0) return;
    // What happened at all is seen.
    const tall = Math.max(1.5, (value / peak) * height);
    path += `M${(index * step).toFixed(2)} ${height}v${(-tall).toFixed(2)}h${bar.toFixed(2)}v${tall.toFixed(2)}z`;
  });
  return path;
}

let cursor = null;

function drawTimeline(figures) {
  const { step_ms: stepMs, first_ms: firstMs, count: steps, courses } = figures.timeline;
  const always = ['ended', 'refused'];
  const shown = courses.filter((course) => course.values.length > 0 || always.includes(course.name));
  const box = $('timeline');
  if (!box.axis) {
    box.axis = make('div', { class: 'axis', 'aria-hidden': 'true' }, make('span'), make('span'), make('span'));
  }
  const parts = shown.flatMap((course) => [{ course, part: 'label' }, { course, part: 'chart' }, { course, part: 'sum' }]);
  box.axis.remove();
  keep(box, parts, (one) => `${one.course.name} ${one.part}`, ({ course, part }) => {
    if (part === 'label') return make('span', { class: 'label', 'data-tone': course.name }, COURSES[course.name] || course.name);
    if (part === 'sum') return make('span', { class: 'sum' }, make('span'), make('span', { class: 'peak' }));
    const chart = makeSVG('svg', { viewBox: '0 0 600 40', preserveAspectRatio: 'none', 'aria-hidden': 'true', 'data-tone': course.name });
    chart.append(makeSVG('path'), makeSVG('line', { class: 'cursor', y1: '0', y2: '40', visibility: 'hidden' }));
    return chart;
  }, (node, { course, part }) => {
    const peak = Math.max(0, ...course.values);
    if (part === 'chart') set(node.children[0], 'd', peak ? barsPath(course.values, peak, 600, 40) : 'M0 0');
    if (part !== 'sum') return;
    say(node.children[0], count(course.values.reduce((a, b) => a + b, 0)));
    say(node.children[1], peak ? `max ${count(peak)}` : '');
  });
  box.append(box.axis);
  const lastMs = firstMs + stepMs * steps;
  const isLong = lastMs - firstMs > 86400000;
  [firstMs, firstMs + (stepMs * steps) / 2, lastMs].forEach((ms, index) => {
    say(box.axis.children[index], isLong ? `${day(ms)} ${clock(ms).slice(0, 5)}` : clock(ms));
  });
  say($('timeline-unit'), `a bar is ${duration(stepMs)}, each row to its own scale; times are UTC`);
  drawCursor();
}

function drawCursor() {
  const figures = view.figures;
  if (!figures) return;
  const { step_ms: stepMs, first_ms: firstMs, count: steps, courses } = figures.timeline;
  const box = $('timeline');
  set(box, 'aria-valuemin', '0');
  set(box, 'aria-valuemax', String(steps - 1));
  const place = cursor === null ? steps - 1 : Math.min(steps - 1, Math.max(0, Math.round(cursor * (steps - 1))));
  const from = firstMs + place * stepMs;
  const said = courses.filter((course) => course.values[place] > 0).map((course) => `${count(course.values[place])} ${COURSES[course.name] || course.name}`);
  const text = `${moment(from)} to ${clock(from + stepMs)}: ${said.length ? said.join(', ') : 'nothing'}`;
  set(box, 'aria-valuenow', String(place));
  set(box, 'aria-valuetext', text);
  say($('readout'), cursor === null ? 'Point at the timeline, or move through it with the arrow keys.' : text);
  for (const line of box.querySelectorAll('.cursor')) {
    const x = String(((place + 0.4) * 600) / steps);
    set(line, 'x1', x);
    set(line, 'x2', x);
    set(line, 'visibility', cursor === null ? 'hidden' : 'visible');
  }
}

// MARK: limits

function drawBuckets(figures) {
  const parent = $('buckets');
  const list = figures.buckets.shown;
  if (empty(parent, list.length === 0, figures.has_policy
    ? 'No rule with a limit has been used yet.'
    : 'No limit was reached yet, so the log tells of none. Start sluice dashboard with --policy FILE to see all of them from the start.')) return;
  table(parent, 'Limits', [
    { title: 'Client', kind: 'who', text: (one) => one.client, under: gateOf },
    { title: 'Hosts', kind: 'host', text: (one) => hosts(one), under: (one) => one.rule },
    { title: 'Tokens left', create: makeBar, update: drawBar },
    { title: 'Last minute', kind: 'number', text: (one) => `${count(one.last_minute)} of ${count(one.per_minute)}` },
    { title: `Rate and limit, a minute`, kind: 'course', create: makeSpark, update: drawSpark },
  ], list, (one) => JSON.stringify([one.gate, one.client, one.rule]));
  more(parent, figures.buckets.more ? `and ${count(figures.buckets.more)} more, with more of their tokens left` : '');
}

function hosts(bucket) {
  const rest = bucket.host_count - bucket.hosts.length;
  return bucket.hosts.join(', ') + (rest > 0 ? ` and ${count(rest)} more` : '');
}

function makeBar() {
  const chart = makeSVG('svg', { viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  chart.append(makeSVG('rect', { width: '0', height: '10' }));
  return make('div', { class: 'bar' }, chart, make('span'));
}

function drawBar(node, bucket) {
  const share = bucket.capacity > 0 ? Math.min(1, bucket.tokens / bucket.capacity) : 0;
  set(node, 'data-low', share <= 0.1 ? 'none' : share <= 0.35 ? 'some' : '');
  set(node.firstChild.firstChild, 'width', String(Math.round(share * 100)));
  say(node.lastChild, `~${count(bucket.tokens)} of ${count(bucket.capacity)}`);
}

function makeSpark() {
  const chart = makeSVG('svg', { class: 'spark', viewBox: '0 0 120 30', preserveAspectRatio: 'none', role: 'img' });
  chart.append(makeSVG('path', { class: 'area' }), makeSVG('line', { class: 'limit', x1: '0', x2: '120' }));
  return chart;
}

/** How many a minute, with the limit as a dashed line. */
function drawSpark(node, bucket) {
  const stepMs = view.figures.timeline.step_ms;
  const rates = bucket.values.map((value) => (value * 60000) / stepMs);
  const peak = Math.max(0, ...rates);
  const top = Math.max(peak, bucket.per_minute * 1.25, 1);
  set(node.children[0], 'd', rates.length ? barsPath(rates, top, 120, 30) : 'M0 0');
  const y = String(30 - (bucket.per_minute / top) * 30);
  set(node.children[1], 'y1', y);
  set(node.children[1], 'y2', y);
  set(node, 'aria-label', `at most ${count(Math.round(peak))} a minute, limit ${count(bucket.per_minute)}`);
}

// MARK: refusals

function drawRefused(figures) {
  const parent = $('refused');
  const { shown, more: rest, forgotten } = figures.refused;
  if (empty(parent, shown.length === 0, 'Nothing was refused. When a client asks for what no rule allows, it stands here with the rule to add.')) return;
  const list = parent.querySelector(':scope > ul') || parent.insertBefore(make('ul', { class: 'refusals' }), parent.firstChild);
  const isFirst = list.children.length === 0;
  keep(list, some(parent, shown, 6), (one) => one.target, makeRefusal, drawRefusal);
  // One that is open shows what the others hold.
  const open = isFirst && list.querySelector('details:not([hidden])');
  if (open) open.open = true;
  const left = [];
  if (rest) left.push(`and ${count(rest)} more targets`);
  if (forgotten) left.push(`${count(forgotten)} refusals of targets that were seldom asked for are counted above alone`);
  more(parent, left.join('; '));
}

function makeRefusal() {
  const button = make('button', { type: 'button' }, 'Copy');
  const text = make('pre');
  button.addEventListener('click', () => copy(button, text));
  const details = make('details', {}, make('summary', {}, 'Rule that would let it out'), make('div', { class: 'paste' }, text, button));
  const node = make('li', {}, make('p', { class: 'count' }, make('span'), make('small')),
    make('div', {}, make('p', { class: 'target' }), make('p', { class: 'why' }), make('div', { class: 'notes' }), details));
  node.parts = {
    count: node.querySelector('.count > span'), unit: node.querySelector('.count > small'), target: node.querySelector('.target'),
    why: node.querySelector('.why'), notes: node.querySelector('.notes'), details, text,
  };
  return node;
}

function drawRefusal(node, one) {
  const parts = node.parts;
  say(parts.count, count(one.count));
  say(parts.unit, one.count === 1 ? 'time' : 'times');
  say(parts.target, one.target);
  const reasons = one.reasons.map(({ reason, count: number }) => (one.reasons.length > 1 ? `${reasonText(reason)} (${count(number)})` : reasonText(reason)));
  const rest = one.client_count - one.clients.length;
  const who = one.clients.join(', ') + (rest > 0 ? ` and ${count(rest)} more` : '');
  say(parts.why, `${who}; last ${moment(one.last_ms)}. ${reasons.join('; ')}.`);
  const notes = one.warnings.map((text) => ['warning', `Look twice: ${text}.`]).concat(one.notes.map((text) => ['why', `${text}.`]));
  keep(parts.notes, notes, (note) => note.join(' '), (note) => make('p', { class: note[0] }, note[1]), () => {});
  parts.details.hidden = one.yaml === '';
  say(parts.text, one.yaml);
}

async function copy(button, text) {
  let word = 'Copied';
  try {
    await navigator.clipboard.writeText(text.textContent);
  } catch {
    // No clipboard here: it is selected, for the keyboard to copy.
    getSelection().selectAllChildren(text);
    word = 'Selected';
  }
  say(button, word);
  setTimeout(() => say(button, 'Copy'), 2000);
}

// MARK: tables

function drawRows(figures) {
  const parent = $('rows');
  if (empty(parent, figures.rows.shown.length === 0, 'No client has asked for anything yet. Point one at the gate, or start one with sluice run.')) return;
  table(parent, 'Clients and hosts', [
    { title: 'Client', kind: 'who', text: (one) => one.client, under: gateOf },
    { title: 'Host', kind: 'host', text: (one) => one.host },
    { title: 'Last minute', kind: 'number', text: (one) => count(one.last_minute) },
    { title: 'Let out', kind: 'number', text: (one) => count(one.ended) },
    { title: 'Refused', kind: 'number', text: (one) => count(one.refused) },
    { title: 'Would deny', kind: 'number', text: (one) => count(one.would_deny) },
    { title: 'Failed', kind: 'number', text: (one) => count(one.failed) },
    { title: 'Up', kind: 'number', text: (one) => bytes(one.bytes_up) },
    { title: 'Down', kind: 'number', text: (one) => bytes(one.bytes_down) },
  ], figures.rows.shown, (one) => JSON.stringify([one.gate, one.client, one.host]));
  more(parent, figures.rows.more ? `and ${count(figures.rows.more)} more` : '');
}

/** A list of things that were seen, counted. */
function drawSeen(id, label, list, columns, nothing) {
  const parent = $(id);
  if (empty(parent, list.shown.length === 0 && list.beyond === 0, nothing)) return;
  table(parent, label, columns.concat([
    { title: 'Times', kind: 'number', text: (one) => count(one.count) },
    { title: 'Last', kind: 'number time', text: (one) => moment(one.last_ms) },
  ]), list.shown, (one) => JSON.stringify(Object.entries(one).filter(([key]) => key !== 'count' && key !== 'last_ms')), 6);
  const left = list.more + list.beyond;
  more(parent, left ? `and ${count(left)} more` : '');
}

function drawReasons(figures) {
  const parent = $('reasons');
  const list = [];
  for (const event of ['denied', 'limited', 'failed', 'revoked', 'flagged', 'would_deny']) {
    for (const [reason, number] of Object.entries(figures.totals[event])) {
      if (reason !== 'all') list.push({ event, reason, number });
    }
  }
  list.sort((one, other) => other.number - one.number);
  if (empty(parent, list.length === 0, 'Nothing was refused, limited or cut, and nothing failed.')) return;
  table(parent, 'Refusals by reason', [
    { title: 'Event', kind: 'word', tone: (one) => one.event, text: (one) => one.event.replace('_', ' ') },
    { title: 'Reason', text: (one) => one.reason, under: (one) => REASONS[one.reason] || '' },
    { title: 'Lines', kind: 'number', text: (one) => count(one.number) },
  ], list.slice(0, 40), (one) => `${one.event} ${one.reason}`, 6);
}

function drawEvents(figures) {
  const parent = $('events');
  if (empty(parent, figures.events.length === 0, 'Nothing was refused, limited, cut or flagged, and no policy was loaded.')) return;
  let number = 0;
  table(parent, 'Latest', [
    { title: 'Time', kind: 'time', text: (one) => moment(one.time_ms) },
    { title: 'Event', kind: 'word', tone: (one) => (one.would_deny ? 'would_deny' : one.event), text: (one) => (one.would_deny ? 'would deny' : one.event) },
    { title: 'Client', kind: 'who', text: (one) => (one.event === 'policy' ? '' : one.client), under: gateOf },
    { title: 'Target', kind: 'host', text: (one) => one.target },
    { title: 'Reason', text: (one) => one.reason },
    { title: 'Rule', text: (one) => one.rule },
  ], figures.events, () => number++, 12);
}

// MARK: all of it

function draw(figures) {
  view.figures = figures;
  drawClients(figures);
  drawSource(figures);
  drawAttention(figures);
  drawTotals(figures);
  drawTimeline(figures);
  drawBuckets(figures);
  drawRefused(figures);
  drawPasswords(figures);
  drawGates(figures);
  drawRows(figures);
  drawSeen('credentials', 'Credentials used', figures.credentials, [
    { title: 'Credential', text: (one) => one.credential, under: (one) => one.client },
    { title: 'Target', kind: 'host', text: (one) => one.target },
    { title: 'Where', text: (one) => (one.scrubbed ? 'taken out of an answer' : one.place) },
  ], 'No credential was used. The gate holds credentials that a policy names under credentials, and puts them into requests.');
  drawSeen('flagged', 'Flagged content', figures.flagged, [
    { title: 'Target', kind: 'host', text: (one) => one.target, under: (one) => one.client },
    { title: 'Finding', text: (one) => one.finding },
  ], 'Nothing was flagged.');
  drawSeen('limits', 'Limits of sandboxes reached', figures.limits, [
    { title: 'Sandbox', text: (one) => one.client },
    { title: 'Limit', text: (one) => one.limit },
  ], 'No sandbox reached a limit of its processes. A policy sets them under process_limits.');
  drawReasons(figures);
  drawEvents(figures);
}

function drawClients(figures) {
  drawChoice('client', figures.clients);
  drawChoice('gate', figures.gates);
  // One gate alone is no choice.
  $('gate-choice').hidden = !view.gate && figures.gates.length < 2;
}

function drawChoice(which, known) {
  const names = known.slice();
  // One that is asked for and has not been seen yet.
  if (view[which] && !names.includes(view[which])) names.unshift(view[which]);
  const select = $(which);
  keep(select, [''].concat(names), (name) => name, (name) => make('option', { value: name }), (node, name) => say(node, name || 'all'));
  if (select.value !== view[which]) select.value = view[which];
}

function drawSource(figures) {
  const log = figures.log;
  const parts = [log.path, `${count(log.lines)} lines`];
  if (log.broken) parts.push(`${count(log.broken)} broken`);
  if (figures.last_ms !== null) parts.push(`${day(figures.first_ms)} ${clock(figures.first_ms)} to ${moment(figures.last_ms)} UTC`);
  if (figures.policy) parts.push(`policy ${figures.policy}`);
  say($('source'), parts.join(' \u00b7 '));
  const problems = {
    waiting: `There is no log to read at ${log.path} (${log.problem}). A gate writes one where its policy says log: {file: ${log.path}}; this page looks again all the time.`,
    gone: `${log.path} was taken away. What is written to the old file is still read, and a new one as soon as it is there.`,
    failed: `${log.path} cannot be read on (${log.problem}). It is tried again; the figures are as they were.`,
  };
  problem(problems[log.state] || '');
}

function problem(text) {
  const node = $('problem');
  say(node, text);
  node.hidden = text === '';
}

/** The state of the page: a sign, a word, and a colour. */
function state(kind, text) {
  set($('state'), 'data-kind', kind);
  say($('state'), text);
}

// MARK: live

const chosen = (which) => (view[which] ? `&${which}=${encodeURIComponent(view[which])}` : '');

function listen() {
  if (view.source) view.source.close();
  const query = new URLSearchParams({ span: view.span });
  const source = new EventSource(`events?${query}${chosen('client')}${chosen('gate')}`);
  view.source = source;
  view.heardMs = Date.now();
  source.addEventListener('figures', (event) => hear(source, JSON.parse(event.data)));
  source.addEventListener('beat', () => hear(source, null));
  source.addEventListener('error', () => {
    if (view.source !== source) return;
    lost();
    // The browser tries again by itself, but for a refusal.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => { if (view.source === source) listen(); }, RETRY_MS);
  });
}

function hear(source, figures) {
  if (view.source !== source) return;
  view.heardMs = Date.now();
  if (figures) view.at = figures;
  if (view.isPaused) return state('paused', '\u25a0 Paused');
  if (figures) {
    if (chooseSpan(figures)) return;
    draw(figures);
  } else if (view.figures) {
    drawSource(view.figures);
  }
  if (view.figures && view.figures.log.state === 'reading') state('busy', '\u25cc Reading the log');
  else if (view.figures && view.figures.log.state === 'waiting') state('busy', '\u25cc Waiting for a log');
  else state('live', '\u25cf Live');
}

/** A log that ended long ago is shown whole, unless a time was chosen. */
function chooseSpan(figures) {
  if (view.isChosen || figures.last_ms === null || figures.log.state === 'reading') return false;
  view.isChosen = true;
  if (figures.now_ms - figures.last_ms < 600000) return false;
  choose({ span: 'all' });
  return true;
}

function lost() {
  state('lost', '\u25b2 Connection lost');
  const since = view.at ? ` The figures are those of ${clock(view.at.now_ms)} UTC.` : '';
  problem(`The connection to sluice dashboard is lost; it is tried again all the time.${since} If it has ended, start it again.`);
}

/** Another client or time: in the address too, so that it can be kept and sent. */
function choose(change) {
  Object.assign(view, change);
  const hash = new URLSearchParams();
  if (view.gate) hash.set('gate', view.gate);
  if (view.client) hash.set('client', view.client);
  if (view.span !== '10m') hash.set('span', view.span);
  history.replaceState(null, '', `#${hash}`);
  show();
  listen();
}

function show() {
  for (const radio of document.getElementsByName('span')) radio.checked = radio.value === view.span;
  drawClients(view.figures || { clients: [], gates: [] });
}

function readAddress() {
  const hash = new URLSearchParams(location.hash.slice(1));
  view.gate = hash.get('gate') || '';
  view.client = hash.get('client') || '';
  const span = hash.get('span');
  view.isChosen = span !== null;
  view.span = ['10m', '2h', 'all'].includes(span) ? span : '10m';
}

function pause() {
  view.isPaused = !view.isPaused;
  set($('pause'), 'aria-pressed', String(view.isPaused));
  if (view.isPaused) return state('paused', '\u25a0 Paused');
  if (view.at) hear(view.source, view.at);
}

// MARK: the timeline's cursor

function moveCursor(event) {
  const steps = view.figures ? view.figures.timeline.count : 1;
  const one = 1 / Math.max(1, steps - 1);
  const at = cursor === null ? 1 : cursor;
  const moves = { ArrowLeft: at - one, ArrowRight: at + one, PageUp: at - 10 * one, PageDown: at + 10 * one, Home: 0, End: 1 };
  if (event.key === 'Escape') cursor = null;
  else if (event.key in moves) cursor = Math.min(1, Math.max(0, moves[event.key]));
  else return;
  event.preventDefault();
  drawCursor();
}

function pointCursor(event) {
  const chart = $('timeline').querySelector('svg');
  if (!chart) return;
  const box = chart.getBoundingClientRect();
  cursor = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  drawCursor();
}

function dropCursor() {
  cursor = null;
  drawCursor();
}

function begin() {
  const timeline = $('timeline');
  timeline.addEventListener('keydown', moveCursor);
  timeline.addEventListener('pointermove', pointCursor);
  timeline.addEventListener('pointerleave', dropCursor);
  timeline.addEventListener('blur', dropCursor);
  const report = $('report');
  if (report) {
    $('controls').hidden = true;
    const figures = JSON.parse(report.textContent);
    const whose = [figures.client, figures.gate].filter((name) => name !== null).join(' at ');
    state('report', whose ? `Report of ${whose}` : 'Report');
    return draw(figures);
  }
  state('busy', '\u25cc Connecting');
  for (const which of ['gate', 'client']) $(which).addEventListener('change', (event) => choose({ [which]: event.target.value }));
  $('spans').addEventListener('change', (event) => choose({ span: event.target.value, isChosen: true }));
  $('pause').addEventListener('click', pause);
  narrow.addEventListener('change', () => { if (view.figures) draw(view.figures); });
  window.addEventListener('hashchange', () => { readAddress(); show(); listen(); });
  setInterval(() => { if (Date.now() - view.heardMs > SILENCE_MS) { lost(); listen(); } }, RETRY_MS);
  readAddress();
  show();
  listen();
}

begin();
