// The page of approvals of `sluice dashboard --admin`: what waits, in the order of its coming, and buttons to decide.
// All that came from a client is set as text, in a box of its own. Focus is never moved, and no entry changes its place.
'use strict';

const ASK_EVERY_MS = 1000;
const ARM_AFTER_MS = 1000;
const SETTLED_MAX = 50;

const GRANTS = [['once', 'Allow once'], ['1h', 'Allow for 1 hour'], ['session', 'Allow for this session']];
const STATES = {
  waiting: 'waits for an answer', recorded: 'was refused; nobody waits', approved: 'approved', refused: 'refused', expired: 'nobody answered in time',
  gone: 'the client asks no more',
};

const $ = (id) => document.getElementById(id);
const known = new Map();

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function complain(text) {
  say($('problem'), text || '');
  $('problem').hidden = !text;
}

// MARK: one entry

/** An article whose parts stay the same nodes for as long as it is shown. */
function create(entry) {
  const parts = {
    state: make('span'), who: make('h2'), target: make('span', { class: 'said' }), owner: make('p', { class: 'label' }),
    excerpt: make('span', { class: 'said' }), note: make('span', { class: 'said' }), noteLabel: make('p', { class: 'label' }, 'The client says why:'),
    allows: make('p'), warnings: make('div'), facts: make('p', { class: 'facts' }), outcome: make('p', { class: 'outcome', role: 'status' }),
    buttons: make('div', { class: 'buttons' }),
  };
  const article = make('article', { 'data-id': entry.id }, parts.who, parts.target, parts.owner, parts.warnings, parts.allows, parts.noteLabel, parts.note, parts.excerpt,
    parts.facts, parts.buttons, parts.outcome);
  const one = { entry, article, parts, shownAt: performance.now(), isSent: false, lastState: entry.state };
  if (entry.content) parts.buttons.append(button(one, 'Release', 'allow', `/approvals/release?id=${entry.id}`));
  else for (const [grant, words] of GRANTS) parts.buttons.append(button(one, words, 'allow', `/approvals/approve?id=${entry.id}&for=${grant}`));
  parts.buttons.append(button(one, 'Refuse', 'refuse', `/approvals/refuse?id=${entry.id}`));
  rearm(one);
  return one;
}

/** A button stays focusable while it does nothing: one that vanishes under a finger would hand the focus to another. */
function button(one, words, kind, path) {
  const node = make('button', { type: 'button', class: kind, 'aria-disabled': 'true' }, words);
  node.addEventListener('click', (event) => {
    // A click that a script or a held key makes, or one that began before the second was over, decides nothing.
    if (!event.isTrusted || !isArmed(one)) return;
    decide(one, words, path);
  });
  node.addEventListener('keydown', (event) => { if (event.repeat) event.preventDefault(); });
  return node;
}

/** The buttons of an entry work a second from now. */
function rearm(one) {
  one.shownAt = performance.now();
  setTimeout(() => update(one), ARM_AFTER_MS + 20);
}

function mayDecide(one) {
  return !one.isSent && ['waiting', 'recorded', 'expired'].includes(one.entry.state);
}

function isArmed(one) {
  return mayDecide(one) && document.visibilityState === 'visible' && performance.now() - one.shownAt >= ARM_AFTER_MS;
}

function update(one) {
  const { entry, parts } = one;
  one.article.dataset.state = entry.state;
  const asks = { answer: 'is to get a flagged answer of', request: 'sends what looks like a secret to' };
  say(parts.who, `${entry.client} ${asks[entry.content] || 'asks for'}`);
  const target = entry.content ? `${entry.host}:${entry.port}${entry.path || ''}` : entry.method ? `${entry.method} ${entry.host}:${entry.port}${entry.path}` : `${entry.host}:${entry.port}`;
  say(parts.target, target);
  say(parts.owner, entry.owner && entry.owner !== entry.host ? `This name belongs to whoever owns ${entry.owner}.` : '');
  parts.owner.hidden = !parts.owner.textContent;
  say(parts.allows, entry.allows);
  say(parts.excerpt, entry.excerpt || '');
  parts.excerpt.hidden = !entry.excerpt;
  parts.note.hidden = parts.noteLabel.hidden = !entry.note;
  say(parts.note, entry.note || '');
  const warnings = entry.warnings || [];
  while (parts.warnings.children.length > warnings.length) parts.warnings.lastChild.remove();
  warnings.forEach((text, index) => {
    const line = parts.warnings.children[index] || parts.warnings.appendChild(make('p', { class: 'warning' }));
    say(line, text);
  });
  const times = entry.count === 1 ? 'once' : `${entry.count} times`;
  const left = entry.state === 'waiting' && entry.left_ms !== undefined ? `; ${Math.ceil(entry.left_ms / 1000)} s left` : '';
  say(parts.facts, `Asked ${times}, first ${age(entry.age_ms)} ago; it ${STATES[entry.state] || entry.state}${left}. Id ${entry.id}.`);
  for (const node of parts.buttons.children) {
    const disabled = String(!isArmed(one));
    if (node.getAttribute('aria-disabled') !== disabled) node.setAttribute('aria-disabled', disabled);
  }
  if (!mayDecide(one) && !one.isSent && entry.by) say(parts.outcome, `${STATES[entry.state] || entry.state} by ${entry.by}${entry.for ? `, for: ${entry.for}` : ''}`);
}

function age(ms = 0) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

async function decide(one, words, path) {
  one.isSent = true;
  say(one.parts.outcome, `${words}: asking the gate…`);
  update(one);
  try {
    const answer = await fetch(path, { method: 'POST', credentials: 'same-origin', cache: 'no-store' });
    const got = answer.ok ? await answer.json() : { ok: false, problem: (await answer.text()).trim() };
    if (got.ok) say(one.parts.outcome, `${words}: done`);
    else {
      one.isSent = false;
      say(one.parts.outcome, `Not done: ${got.problem}`);
    }
  } catch {
    one.isSent = false;
    say(one.parts.outcome, 'Not done: the dashboard does not answer.');
  }
  await refresh();
}

// MARK: the list

/** A new entry goes to the end; one that is over stays where it is, so that nothing moves under a pointer. */
function draw(got) {
  const seen = new Set();
  for (const entry of got.entries) {
    seen.add(entry.id);
    let one = known.get(entry.id);
    if (!one) {
      // Entries that were decided before this page was opened are not news.
      if (!['waiting', 'recorded', 'expired'].includes(entry.state)) continue;
      known.set(entry.id, (one = create(entry)));
      $('entries').append(one.article);
    }
    // Asked again after it was over: a new question, and a new second.
    if (entry.state !== one.lastState && ['waiting', 'recorded'].includes(entry.state) && ['approved', 'refused'].includes(one.lastState)) {
      one.isSent = false;
      say(one.parts.outcome, '');
      rearm(one);
    }
    one.entry = entry;
    one.lastState = entry.state;
    update(one);
  }
  for (const one of known.values()) {
    if (!seen.has(one.entry.id) && mayDecide(one)) {
      one.entry = { ...one.entry, state: 'gone' };
      update(one);
    }
  }
  forget();
  const waiting = got.entries.filter((entry) => entry.state === 'waiting').length;
  say($('state'), waiting === 1 ? '1 request waits' : `${waiting} requests wait`);
  document.title = waiting > 0 ? `(${waiting}) Sluice approvals` : 'Sluice approvals';
  $('nothing').hidden = known.size > 0;
  complain(got.problem ? `The gate: ${got.problem}` : got.enabled === false ? 'The policy of this gate has no `approvals`: nothing asks.' : '');
}

/** The oldest of those that are over, but none that has the focus. */
function forget() {
  const settled = [...known.values()].filter((one) => !mayDecide(one) && !one.article.contains(document.activeElement));
  const old = settled.slice(0, Math.max(0, settled.length - SETTLED_MAX));
  for (const one of old) {
    one.article.remove();
    known.delete(one.entry.id);
  }
  // The entries below have moved: their second begins anew.
  if (old.length > 0) for (const one of known.values()) rearm(one);
}

async function refresh() {
  try {
    const answer = await fetch('/approvals/list', { credentials: 'same-origin', cache: 'no-store' });
    if (answer.ok) return draw(await answer.json());
    complain((await answer.text()).trim());
    say($('state'), 'not connected');
  } catch {
    complain('The dashboard does not answer.');
    say($('state'), 'not connected');
  }
}

// A page that was out of sight shows what its reader has not seen: the second begins anew.
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState !== 'visible') return;
  for (const one of known.values()) rearm(one);
});

(async () => {
  for (;;) {
    await refresh();
    await new Promise((done) => setTimeout(done, ASK_EVERY_MS));
  }
})();
