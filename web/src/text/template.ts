// Chat messages -> the prompt text a model was trained on, by the Jinja template of the model file. Text only: the core
// turns the result into tokens (special tokens in it are recognised, as in every engine that does this).
import { Template } from '@huggingface/jinja';
import { EngineError } from '../errors.ts';
import type { ChatMessage, GenerateOptions, ToolCall } from '../types.ts';

/** Texts of the model's special tokens as templates name them: `bos_token`, `eos_token` ... */
export type SpecialTexts = Record<string, string>;

type Options = Pick<GenerateOptions, 'thinking' | 'tools'>;

/** A template made ready once per model. */
export class ChatTemplate {
  private readonly template: Template;
  /** What stands for the content of an assistant that only calls tools: some templates demand null, others cannot take it. */
  private noContent: { value: null | '' } | null = null;

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
      return this.write(calls ? messages.map((message) => prepared(message, this.withoutContent())) : messages, options);
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

  /** Found out once: null, if a call then comes out with its arguments and without a word for nothing, else ''. */
  private withoutContent(): null | '' {
    const call = { id: 'probe0000', type: 'function' as const, function: { name: 'probe', arguments: { nutshell_probe: 1 } } };
    const chat: ChatMessage[] = [{ role: 'user', content: 'x' }, { role: 'assistant', content: null, tool_calls: [call] }];
    const takesNull = () => {
      try {
        const prompt = this.write(chat, {});
        return /"nutshell_probe": ?1/.test(prompt) && !/\b(None|null|undefined)\b/.test(prompt);
      } catch {
        return false;
      }
    };
    return (this.noContent ??= { value: takesNull() ? null : '' }).value;
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

/** A message as templates expect it: the arguments of calls as objects, which is the custom of `transformers`. */
function prepared(message: ChatMessage, noContent: null | ''): ChatMessage {
  if (!message.tool_calls) return message;
  const tool_calls = message.tool_calls.map((call): ToolCall => {
    return { ...call, type: 'function', function: { ...call.function, arguments: argumentsOf(call)! } };
  });
  return { ...message, content: message.content || noContent, tool_calls };
}
