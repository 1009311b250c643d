/**
 * A visitor's conversation, without a document: what was said, what is being said, and what may be done now.
 *
 *     loading ──► idle ──send──► asking ──start──► answering ──done, error──► idle
 *
 * A message keeps its id through every retry, so that nothing is ever asked twice. Messages are values: one that has
 * changed is another object, which is how the view knows what to draw.
 *
 * @typedef {'pending' | 'failed' | 'streaming' | 'complete' | 'interrupted' | 'cancelled'} MessageState
 * @typedef {{ id: string, label: string, state: string }} ToolUse
 * @typedef {{ title: string, url?: string, text: string }} Passage
 * @typedef {object} Message
 * @property {string} id
 * @property {'visitor' | 'assistant' | 'person' | 'notice'} role
 * @property {string} text
 * @property {MessageState} state
 * @property {import('./api.js').Source[]} [sources]
 * @property {ToolUse[]} [tools]
 * @property {boolean} [asked]  a person has been asked to join
 * @property {string[]} [replies]  what the visitor may want to say next, while nothing else has been said
 * @property {Passage[]} [passages]
 * @property {boolean} [retry]  a notice after which the same question may be asked again
 *
 * @typedef {{ text: string, until?: number, retry?: () => void }} Notice  `until` is a time in milliseconds
 * @typedef {'loading' | 'idle' | 'asking' | 'answering'} Phase
 * @typedef {object} Hooks
 * @property {() => void} changed                the state is another
 * @property {(text: string) => void} announce   to be heard once by who cannot see
 * @property {(text: string) => void} giveBack   words that were not taken: they belong in the composer again
 */

import { Problem } from './api.js';
import { parse, spoken } from './markdown.js';
import { follow } from './stream.js';

const STALE_MS = 5 * 60_000; // what could not be sent for longer is handed back instead of sent unasked
const RENEW_MS = 7 * 86_400_000; // a token that ends within a week is renewed on the way
const REPLIES = 4; // to choose from; more would be a menu

export class Conversation {
  /** @type {Phase} */
  phase = 'idle';
  reconnecting = false;
  /** @type {Message[]} */
  messages = [];
  /** @type {Notice | null} */
  notice = null;

  #api;
  #session;
  #words;
  #about;
  #hooks;
  #signal;
  #turn = '';
  #stopping = false;
  #run = new AbortController();

  /**
   * @param {object} parts
   * @param {import('./api.js').Api} parts.api
   * @param {import('./session.js').Session} parts.session
   * @param {Record<'fresh' | 'unreachable' | 'asked' | 'replies' | 'passages', string>} parts.words
   * @param {() => { site: string, locale?: string, page?: import('./api.js').Page }} parts.about  whom and where we serve
   * @param {Hooks} parts.hooks
   * @param {AbortSignal} parts.signal
   */
  constructor({ api, session, words, about, hooks, signal }) {
    this.#api = api;
    this.#session = session;
    this.#words = words;
    this.#about = about;
    this.#hooks = hooks;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#run.abort());
    session.watch(() => this.#othersWrote(), signal);
  }

  /** Shows what the server knows of this visitor, and goes on where the last page was left. */
  async load() {
    this.#change({ phase: 'loading', notice: null });
    try {
      const { token, turn = '' } = this.#session.kept;
      this.#turn = turn;
      if (token) this.#adopt(await this.#current());
      else this.#change({ phase: 'idle', messages: [] });
      await this.#goOn();
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.#startAfresh();
      else this.#tell({ text: this.#reason(error), retry: () => this.load() });
    }
  }

  /** A session ahead of the first message, so that sending it costs one round trip. Failures come up again then. */
  prepare() {
    this.#admitted().catch(() => {});
  }

  /** Asks. False while another answer is under way. @param {string} text */
  send(text) {
    if (this.phase !== 'idle') return false;
    /** @type {Message} */
    const question = { id: newId(), role: 'visitor', text: text.toWellFormed(), state: 'pending' };
    this.#session.update({ pending: { id: question.id, text: question.text, at: Date.now() } });
    this.#ask(question);
    return true;
  }

  /** Asks the last question again, under its own id. */
  retry() {
    const question = this.messages.findLast((message) => message.role === 'visitor');
    if (!question || this.phase !== 'idle') return;
    this.messages = this.messages.filter((message) => !message.retry);
    this.#ask({ ...question, state: 'pending' });
  }

  /** Stops the answer, or, before it has a name, as soon as it has one. What was said so far is kept. */
  stop() {
    this.#stopping = true;
    if (this.phase === 'answering') this.#cancel();
  }

  /** Begins an empty conversation; an answer under way is not wanted any more. */
  async restart() {
    if (this.phase === 'answering') this.#cancel();
    this.#run.abort();
    this.#turn = '';
    this.#session.update({ pending: null, turn: '' });
    this.#change({ phase: 'loading', notice: null, reconnecting: false });
    try {
      if (this.#session.kept.token) this.#adopt(await this.#api.newConversation());
      else this.#change({ phase: 'idle', messages: [] });
    } catch (error) {
      if (!(error instanceof Problem && error.status === 401)) return this.#tell({ text: this.#reason(error) });
      this.#session.forget();
      this.#change({ phase: 'idle', messages: [] });
    }
  }

  /** The notice has been read, or its time is up. */
  dismiss() {
    this.#change({ notice: null });
  }

  // ---- what the server knows --------------------------------------------------------------------------------------

  async #current() {
    const { expires, spoken, visitor } = this.#session.kept;
    if (Date.parse(expires ?? '') - Date.now() > RENEW_MS) return this.#api.conversation();
    const admission = await this.#admit();
    if (spoken && admission.visitor.id !== visitor) this.#noteFresh();
    return admission.conversation;
  }

  /** @param {import('./api.js').Transcript} transcript */
  #adopt(transcript) {
    this.#session.update({ conversation: transcript.id });
    this.#change({ phase: 'idle', messages: transcript.messages.map(asShown) });
    if (transcript.turn?.state === 'running') this.#join(transcript.turn.id);
  }

  /** What the last page sent and did not see admitted is sent again, under its own id. */
  async #goOn() {
    const { pending, conversation } = this.#session.kept;
    if (!pending || this.messages.some((message) => message.id === pending.id)) return;
    if (conversation && this.phase !== 'idle') this.#run.abort(); // asking with the old id joins the right turn
    if (Date.now() - pending.at < STALE_MS) return this.#ask({ ...pending, role: 'visitor', state: 'pending' });
    this.#session.update({ pending: null });
    this.#hooks.giveBack(pending.text);
  }

  /** The session was over: another begins with the next message. */
  #startAfresh() {
    const { spoken } = this.#session.kept;
    this.#session.forget();
    this.#change({ phase: 'idle', messages: [] });
    if (spoken) this.#noteFresh();
  }

  #noteFresh() {
    this.messages.push({ id: newId(), role: 'notice', text: this.#words.fresh, state: 'complete' });
    this.#hooks.announce(this.#words.fresh);
    this.#change({});
  }

  /** Another tab of this visitor has begun a turn or a conversation, or this one was away. */
  #othersWrote() {
    const { turn = '' } = this.#session.kept;
    if (this.phase === 'idle' && turn !== this.#turn) this.load();
  }

  // ---- asking and hearing -----------------------------------------------------------------------------------------

  /** @param {Message} question */
  async #ask(question) {
    const before = this.#turn;
    const others = this.messages.filter((message) => message.id !== question.id);
    this.#change({ phase: 'asking', notice: null, messages: [...others.map(unprompted), question] });
    try {
      await this.#listen((turn, after, signal) => (turn ? this.#api.events(turn, after, signal) : this.#post(question, signal)));
    } catch (error) {
      if (this.#turn !== before) await this.#reread();
      else if (error instanceof Problem) await this.#refused(question, error);
      else this.#unsent(question.id);
    }
  }

  /** Hears an answer that somebody else has asked for, from its beginning. @param {string} turn */
  async #join(turn) {
    this.#turn = turn;
    this.#change({ phase: 'answering' });
    try {
      await this.#listen((_, after, signal) => this.#api.events(turn, after, signal), turn);
    } catch {
      await this.#reread();
    }
  }

  /** The stream of an answer is gone for good, but not the answer: the transcript has it. */
  async #reread() {
    try {
      this.messages = (await this.#api.conversation()).messages.map(asShown);
    } catch (error) {
      this.#tell({ text: this.#reason(error), retry: () => this.load() });
    }
    this.#change({ phase: 'idle', reconnecting: false });
  }

  /** @param {import('./stream.js').Connect} connect @param {string} [turn] */
  async #listen(connect, turn) {
    this.#run.abort();
    this.#run = new AbortController();
    this.#stopping = false;
    const { signal } = this.#run;
    const onConnection = (/** @type {boolean} */ alive) => alive === this.reconnecting && this.#change({ reconnecting: !alive });
    for await (const { event, data } of follow(connect, { signal, turn, onConnection })) {
      if (signal.aborted || this.#signal.aborted) return;
      if (Object.hasOwn(this.#hear, event)) this.#hear[event](data);
      this.#change({});
    }
  }

  /** @param {Message} question @param {AbortSignal} signal */
  async #post({ id, text }, signal) {
    const send = async () => {
      const { page } = this.#about();
      return this.#api.ask({ conversation: await this.#admitted(), id, text, page }, signal);
    };
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof Problem && (error.status === 401 || error.status === 404))) throw error;
      await this.#findBack(error.status === 401, id);
      return send();
    }
  }

  /**
   * The token, or the conversation, is not the one that counts any more: takes the one that does, and says so if the
   * visitor has lost something.
   * @param {boolean} expired
   * @param {string} id  of the message that is being sent
   */
  async #findBack(expired, id) {
    if (!expired) return this.#session.update({ conversation: (await this.#api.conversation()).id });
    this.#session.forget();
    const at = this.messages.findIndex((message) => message.id === id);
    if (at > 0) this.messages.splice(at, 0, { id: newId(), role: 'notice', text: this.#words.fresh, state: 'complete' });
    this.#change({});
  }

  /** @type {Promise<string> | null} */
  #admission = null;

  /** The conversation to write to, in a session that is begun if there is none. @returns {Promise<string>} */
  async #admitted() {
    const { token, conversation } = this.#session.kept;
    if (token && conversation) return conversation;
    this.#admission ??= this.#admit()
      .then((admission) => admission.conversation.id)
      .finally(() => (this.#admission = null));
    return this.#admission;
  }

  async #admit() {
    const admission = await this.#api.session(this.#about());
    const { token, expires_at: expires, visitor, conversation } = admission;
    this.#session.update({ token, expires, visitor: visitor.id, conversation: conversation.id });
    return admission;
  }

  /** The message was not taken: its words go back to the visitor. @param {Message} question @param {Problem} problem */
  async #refused(question, problem) {
    this.#session.update({ pending: null });
    this.#change({ phase: 'idle', reconnecting: false, messages: this.messages.filter((message) => message.id !== question.id) });
    this.#hooks.giveBack(question.text);
    if (problem.status === 409) return this.load(); // somebody else of ours is asking: hear that answer
    this.#tell({ text: this.#reason(problem), until: problem.retryAfter && Date.now() + problem.retryAfter * 1000 });
  }

  #cancel() {
    if (this.#turn) this.#api.cancel(this.#turn).catch(() => {}); // not heard: the button is still there
  }

  // ---- small change -----------------------------------------------------------------------------------------------

  /** @param {Partial<Pick<Conversation, 'phase' | 'reconnecting' | 'messages' | 'notice'>>} change */
  #change(change) {
    if (this.#signal.aborted) return;
    Object.assign(this, change);
    this.#hooks.changed();
  }

  /** @param {Notice} notice */
  #tell(notice) {
    this.#change({ phase: 'idle', notice });
    this.#hooks.announce(notice.text);
  }

  /** The server's own sentence, or ours where there is none. @param {unknown} error */
  #reason(error) {
    return (error instanceof Problem && error.message) || this.#words.unreachable;
  }

  /** The network never took it: it stays where it is, to be tried again. @param {string} id */
  #unsent(id) {
    /** @type {Message[]} */
    const messages = this.messages.map((message) => (message.id === id ? { ...message, state: 'failed' } : message));
    this.#change({ phase: 'idle', reconnecting: false, messages });
  }

  /**
   * What each event of the stream does. What we have not heard of is to be ignored.
   * @type {Record<string, (data: any) => void>}
   */
  #hear = {
    start: ({ turn, message }) => {
      this.#turn = turn;
      this.#session.update({ turn, pending: null, spoken: true });
      this.messages = this.messages
        .filter(({ id }) => id !== message)
        .map((each) => (each.state === 'pending' ? { ...each, state: 'complete' } : each));
      this.messages.push({ id: message, role: 'assistant', text: '', state: 'streaming' });
      this.phase = 'answering';
      if (this.#stopping) this.#cancel();
    },
    text: ({ text }) => this.#answer((answer) => ({ text: answer.text + text })),
    tool: (tool) => this.#answer(({ tools }) => ({ tools: placed(tools, tool, 'id') })),
    source: (source) => this.#answer(({ sources }) => ({ sources: placed(sources, source, 'n').sort((a, b) => a.n - b.n) })),
    suggestions: ({ replies }) => this.#answer(() => ({ replies: replies.slice(0, REPLIES) })),
    handoff: ({ state }) => this.#answer(() => ({ asked: state === 'asked' })),
    reset: () => this.#answer(() => ({ text: '', tools: [], sources: [], replies: [] })), // who was asked to join still is
    done: ({ text, state }) => {
      this.#answer(({ replies }) => ({ text, state: settled(state), tools: [], replies: state === 'complete' ? replies : [] }));
      this.#end();
    },
    error: ({ detail, retry, passages }) => {
      const { asked } = /** @type {Message} */ (this.messages.pop());
      this.messages.push({ id: newId(), role: 'notice', text: detail, state: 'complete', retry, passages, asked });
      this.#end();
    },
  };

  /** @param {(answer: Message) => Partial<Message>} change */
  #answer(change) {
    const last = this.messages.length - 1;
    this.messages[last] = { ...this.messages[last], ...change(this.messages[last]) };
  }

  /** The turn is over: what came of it is heard once, with all that stands below it. */
  #end() {
    this.phase = 'idle';
    const { text, asked, replies = [], passages = [] } = this.messages[this.messages.length - 1];
    const below = [
      ...(asked ? [this.#words.asked] : []),
      ...(passages.length ? [this.#words.passages, ...passages.map(({ title }) => title)] : []),
      ...(replies.length ? [this.#words.replies, ...replies] : []),
    ];
    this.#hooks.announce(spoken(parse(text)) + below.join('\n'));
  }
}

/** @param {import('./api.js').TranscriptMessage} message @returns {Message} */
function asShown({ id, role, text, state, sources }) {
  return { id, role, text, state: settled(state), sources };
}

/** Something else has been said: the replies that were offered are none any more. @param {Message} message @returns {Message} */
function unprompted(message) {
  return message.replies ? { ...message, replies: undefined } : message;
}

/**
 * The list with `item` where another of its `key` stood, or else at its end.
 * @template T
 * @param {T[] | undefined} list
 * @param {T} item
 * @param {keyof T} key
 */
function placed(list = [], item, key) {
  const at = list.findIndex((each) => each[key] === item[key]);
  return at < 0 ? [...list, item] : list.with(at, item);
}

/** @param {string} state @returns {MessageState} */
function settled(state) {
  return state === 'complete' || state === 'cancelled' || !state ? /** @type {MessageState} */ (state || 'complete') : 'interrupted';
}

/** A UUID; `crypto.randomUUID` is missing on pages without TLS. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  return [...bytes].map((byte, at) => ([4, 6, 8, 10].includes(at) ? '-' : '') + byte.toString(16).padStart(2, '0')).join('');
}
