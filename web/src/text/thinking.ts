// Parts the answer of a thinking model into its reasoning and the answer proper, while it streams. Two ways are known:
// - tags: the answer begins with `<think>` ... `</think>` (Qwen3, DeepSeek-R1, SmolLM3 ...). Some templates open the tag in
//   the prompt already.
// - channels: OpenAI's harmony format (gpt-oss): `<|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final
//   <|message|>...`. These marks are control tokens, which have no text of their own: they are told by their ids.
// Text comes in arbitrary pieces; a mark may be cut anywhere.

import type { Thinking } from '../types.ts';

/** A piece of the answer: one of the two is usually empty. */
export interface Split {
  reasoning: string;
  text: string;
}

export interface Splitter {
  /** Takes the text that a token (or the end of the stream) completed. */
  push(text: string, id: number | null): Split;
  /** What was held back. Call once, at the end. */
  flush(): Split;
}

const kOpen = '<think>';
const kClose = '</think>';

/** Whether the model of this template thinks aloud: not, always, or as the caller likes. */
export function thinkingOf(template: string | null): Thinking {
  if (!template) return 'none';
  // The variables by which templates are asked for it: Qwen3 and SmolLM3; DeepSeek V3.1 and Granite.
  if (/\benable_thinking\b|\bif (not )?thinking\b|\bthinking is defined\b/.test(template)) return 'optional';
  return [kOpen, kClose, '<|channel|>'].some((mark) => template.includes(mark)) ? 'always' : 'none';
}

/** The splitter for an answer to `prompt`; `idOf` gives the id of a control token, null if the vocabulary has none. */
export function makeSplitter(template: string | null, prompt: string, idOf: (token: string) => number | null): Splitter {
  if (template?.includes('<|channel|>')) {
    const [channel, message, end, start] = ['<|channel|>', '<|message|>', '<|end|>', '<|start|>'].map(idOf);
    if (channel !== null && message !== null) return new ChannelSplitter({ channel, message, end, start } as ChannelIds, prompt);
  }
  if (thinkingOf(template) === 'none') return { push: (text) => ({ reasoning: '', text }), flush: () => ({ reasoning: '', text: '' }) };
  return new TagSplitter(prompt.trimEnd().endsWith(kOpen));
}

/** `<think>` at the very start of an answer, or in the prompt, and the first `</think>` after it. */
class TagSplitter implements Splitter {
  private held = '';
  private state: 'start' | 'reasoning' | 'after' | 'answer';
  private begun = false;

  constructor(open: boolean) {
    this.state = open ? 'reasoning' : 'start';
  }

  push(piece: string): Split {
    this.held += piece;
    const out = { reasoning: '', text: '' };
    if (this.state === 'start') this.start();
    if (this.state === 'reasoning') out.reasoning = this.reason();
    if (this.state === 'after') {
      this.held = this.held.trimStart();
      if (this.held) this.state = 'answer';
    }
    if (this.state === 'answer') out.text = this.take();
    return out;
  }

  flush(): Split {
    // An answer that ends inside its reasoning, or that was nothing but the beginning of a mark.
    return this.state === 'reasoning' ? { reasoning: this.trimmed(this.take().trimEnd()), text: '' } : { reasoning: '', text: this.state === 'after' ? '' : this.take() };
  }

  private start(): void {
    const text = this.held.trimStart();
    if (text.startsWith(kOpen)) {
      this.held = text.slice(kOpen.length);
      this.state = 'reasoning';
    } else if (!kOpen.startsWith(text)) {
      this.state = 'answer';
    }
  }

  private reason(): string {
    const end = this.held.indexOf(kClose);
    if (end >= 0) {
      const text = this.held.slice(0, end).trimEnd();
      this.held = this.held.slice(end + kClose.length);
      this.state = 'after';
      return this.trimmed(text);
    }
    // What may become the mark waits, and the white space before it.
    const sure = this.held.slice(0, this.held.length - openSuffix(this.held, kClose)).trimEnd();
    this.held = this.held.slice(sure.length);
    return this.trimmed(sure);
  }

  /** Without the white space before the first word of the reasoning. */
  private trimmed(text: string): string {
    const out = this.begun ? text : text.trimStart();
    this.begun ||= out.length > 0;
    return out;
  }

  private take(): string {
    const text = this.held;
    this.held = '';
    return text;
  }
}

/** Length of the longest proper beginning of `mark` that `text` ends with. */
function openSuffix(text: string, mark: string): number {
  for (let n = Math.min(mark.length - 1, text.length); n > 0; n--) if (text.endsWith(mark.slice(0, n))) return n;
  return 0;
}

interface ChannelIds {
  channel: number;
  message: number;
  end: number | null;
  start: number | null;
}

/** Channels by control tokens: `analysis`, and calls of tools, are reasoning; `final` and plain `commentary` are the answer. */
class ChannelSplitter implements Splitter {
  private state: 'header' | 'reasoning' | 'answer' = 'answer';
  private header = '';

  constructor(private readonly ids: ChannelIds, prompt: string) {
    if (/<\|channel\|>analysis<\|message\|>$/.test(prompt)) this.state = 'reasoning';
  }

  push(text: string, id: number | null): Split {
    // Text that arrives with a mark was complete before it.
    const out = this.put(text);
    if (id === null) return out;
    if (id === this.ids.channel) {
      this.state = 'header';
      this.header = '';
    } else if (id === this.ids.message) {
      const isReasoning = /^\s*analysis\b/.test(this.header) || / to=/.test(this.header);
      if (this.state === 'header') this.state = isReasoning ? 'reasoning' : 'answer';
    } else if (id === this.ids.end || id === this.ids.start) {
      this.state = 'header';
      this.header = '';
    }
    return out;
  }

  flush(): Split {
    return { reasoning: '', text: '' };
  }

  private put(text: string): Split {
    if (this.state === 'header') this.header += text;
    return { reasoning: this.state === 'reasoning' ? text : '', text: this.state === 'answer' ? text : '' };
  }
}
