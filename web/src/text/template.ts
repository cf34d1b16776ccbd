// Chat messages -> the prompt text a model was trained on, by the Jinja template of the model file. Text only: the core
// turns the result into tokens (special tokens in it are recognised, as in every engine that does this).
import { Template } from '@huggingface/jinja';
import { EngineError } from '../errors.ts';
import type { ChatMessage, GenerateOptions, ToolCall } from '../types.ts';

/** Texts of the model's special tokens as templates name them: `bos_token`, `eos_token` ... */
export type SpecialTexts = Record<string, string>;

type Options = Pick<GenerateOptions, 'thinking' | 'tools'>;

/**
 * How a template wants the assistant's calls: `text`: arguments as JSON text and not as an object (DeepSeek's put them in place
 * as they come); `empty`: what the content is where there is none (some demand null, others cannot take it).
 */
interface CallStyle {
  text: boolean;
  empty: null | '';
}

/** In the order they are tried; objects are the custom of `transformers`. */
const kStyles: CallStyle[] = [false, true].flatMap((text) => [{ text, empty: null }, { text, empty: '' as const }]);

/** A template made ready once per model. */
export class ChatTemplate {
  private readonly template: Template;
  private style: CallStyle | null = null;

  /** `source`: the template, or null where the file has none. Errors: `no_chat_template`, `bad_chat_template`. */
  constructor(source: string | null, private readonly tokens: SpecialTexts) {
    if (!source) throw new EngineError('no_chat_template');
    try {
      this.template = new Template(source);
    } catch (cause) {
      throw new EngineError('bad_chat_template', `the chat template cannot be read: ${(cause as Error).message}`, { cause });
    }
  }

  /**
   * The prompt for an answer of the assistant. Families name the switch for thinking differently: `enable_thinking` (Qwen3,
   * SmolLM3) or `thinking` (DeepSeek V3.1, Granite); both are set. A template refuses messages (roles out of
   * order) by `bad_chat_template`.
   */
  render(messages: ChatMessage[], options: Options = {}): string {
    if (!messages.length) throw new EngineError('invalid_argument', 'a chat needs at least one message');
    messages.forEach(checkMessage);
    const calls = messages.some(({ tool_calls }) => tool_calls);
    try {
      return this.write(calls ? messages.map((message) => inStyle(message, this.callStyle())) : messages, options);
    } catch (cause) {
      throw new EngineError('bad_chat_template', `the chat template refuses these messages: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  private write(messages: ChatMessage[], { thinking, tools }: Options): string {
    return this.template.render({
      messages,
      add_generation_prompt: true,
      ...(thinking === undefined ? {} : { enable_thinking: thinking, thinking }),
      ...(tools?.length ? { tools } : {}),
      ...this.tokens,
    });
  }

  /** Found out once: the first style in which a call comes out with its arguments as JSON and without a word for nothing. */
  private callStyle(): CallStyle {
    const call = { id: 'probe0000', type: 'function' as const, function: { name: 'probe', arguments: { nutshell_probe: 1 } } };
    const chat: ChatMessage[] = [{ role: 'user', content: 'x' }, { role: 'assistant', content: null, tool_calls: [call] }];
    const works = (style: CallStyle) => {
      try {
        const prompt = this.write(chat.map((message) => inStyle(message, style)), {});
        return /"nutshell_probe": ?1/.test(prompt) && !/\b(None|null|undefined)\b/.test(prompt);
      } catch {
        return false;
      }
    };
    return (this.style ??= kStyles.find(works) ?? { text: false, empty: '' });
  }
}

function checkMessage({ role, content, tool_calls, tool_call_id }: ChatMessage, index: number): void {
  const wrong = (what: string) => new EngineError('invalid_argument', `message ${index} ${what}`);
  if (typeof role !== 'string' || (typeof content !== 'string' && !(content === null && tool_calls))) {
    throw wrong('needs a role and a content, both texts');
  }
  if (tool_call_id !== undefined && typeof tool_call_id !== 'string') throw wrong('has a tool_call_id that is not a text');
  if (tool_calls === undefined) return;
  if (!Array.isArray(tool_calls)) throw wrong('has tool_calls that are not a list');
  for (const call of tool_calls as (Partial<ToolCall> | null)[]) {
    if (typeof call?.function?.name !== 'string') throw wrong('calls a tool without a name');
    if (argumentsOf(call as ToolCall) === null) throw wrong(`calls ${call.function.name} with arguments that are not a JSON object`);
  }
}

/** The arguments of a call as an object, null where they are none. */
function argumentsOf({ function: { arguments: given } }: ToolCall): Record<string, unknown> | null {
  let value: unknown = given;
  try {
    if (typeof given === 'string') value = JSON.parse(given);
  } catch {
    return null;
  }
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
}

function inStyle(message: ChatMessage, { text, empty }: CallStyle): ChatMessage {
  if (!message.tool_calls) return message;
  const tool_calls = message.tool_calls.map((call): ToolCall => {
    const given = call.function.arguments;
    const written = typeof given === 'string' ? given : JSON.stringify(given);
    return { ...call, type: 'function', function: { ...call.function, arguments: text ? written : argumentsOf(call)! } };
  });
  return { ...message, content: message.content || empty, tool_calls };
}
