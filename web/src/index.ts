// The public surface of the package `nutshell`, nothing else.
export { Compressor, discardCompression, listCompressions } from './compress/compressor.ts';
export type { Compression, CompressOptions, CompressPlan, CompressProgress, CompressResult, SizeChoice } from './compress/types.ts';
export { Nutshell, type Engine, type ModelInput } from './engine.ts';
export { EngineError, type ErrorCode, type ErrorData } from './errors.ts';
export { detectCapabilities, type Capabilities } from './platform.ts';
export { deleteModel, listModels, storedFile } from './store/shelf.ts';
export type {
  ChatMessage,
  EmbedOptions,
  Embeddings,
  EngineInfo,
  GenerateOptions,
  LoadOptions,
  LoadProgress,
  ModelInfo,
  StoredModel,
  Thinking,
  Timings,
  Token,
  ToolCall,
} from './types.ts';
