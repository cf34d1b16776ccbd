// Chat messages -> the prompt text a model was trained on, by the Jinja template of the model file. Text only: the core
// turns the result into tokens (special tokens in it are recognised, as in every engine that does this).
import { Template } from '@huggingface/jinja';
import { EngineError } from '../errors.ts';
import type { ChatMessage, GenerateOptions } from '../types.ts';

/** Texts of the model's special tokens as templates name them: `bos_token`, `eos_token` ... */
export type SpecialTexts = Record<string, string>;

/** A template made ready once per model. */
export class ChatTemplate {
  private readonly template: Template;

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
  render(messages: ChatMessage[], { thinking, tools }: Pick<GenerateOptions, 'thinking' | 'tools'> = {}): string {
    if (!messages.length) throw new EngineError('invalid_argument', 'a chat needs at least one message');
    messages.forEach(({ role, content }, index) => {
      if (typeof role !== 'string' || typeof content !== 'string') {
        throw new EngineError('invalid_argument', `message ${index} needs a role and a content, both texts`);
      }
    });
    try {
      return this.template.render({
        messages,
        add_generation_prompt: true,
        ...(thinking === undefined ? {} : { enable_thinking: thinking, thinking }),
        ...(tools?.length ? { tools } : {}),
        ...this.tokens,
      });
    } catch (cause) {
      throw new EngineError('bad_chat_template', `the chat template refuses these messages: ${(cause as Error).message}`, {
        cause,
      });
    }
  }
}
