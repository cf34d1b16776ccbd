// What the compressor in the browser takes and gives.

/** What a compression will be, before it starts. */
export interface CompressPlan {
  /** Of the work on this device: what listCompressions and discardCompression call it. */
  id: string;
  name: string;
  architecture: string;
  parameters: number;
  /** Size of the source. */
  bytes: number;
  /** Whether texts are run through the model to measure what matters; larger models are coded without. */
  calibrated: boolean;
  /** Sizes of files that can be made. */
  smallestBytes: number;
  largestBytes: number;
  /** Most memory the work takes. */
  memoryBytes: number;
  /** Storage needed beside the source while working, the result included. */
  storageBytes: number;
  /** 0..1 of the measuring: what earlier runs left of it on this device, about. */
  measured: number;
  /** A file of that size was being made; done 0..1. */
  unfinished: { bytes: number; done: number } | null;
}

/** A size that can be made, and what is known of it beforehand. */
export interface SizeChoice {
  /** Of the file, at most. */
  bytes: number;
  bitsPerWeight: number;
  /** Expected divergence from the original, in nats per token; null where nothing was calibrated. */
  predictedKl: number | null;
  /** Of an engine with the file and 2048 tokens of context, about. */
  memoryBytes: number;
}

export interface CompressProgress {
  stage: 'reading' | 'measuring' | 'coding' | 'checking' | 'writing';
  /** 0..1 of the stage. */
  done: number;
  /** 0..1 of the whole call. */
  total: number;
  /** Of the call; null until it can be told. */
  secondsLeft: number | null;
}

export interface CompressResult {
  /** For Nutshell.load. */
  url: string;
  name: string;
  bytes: number;
  bitsPerWeight: number;
  predictedKl: number | null;
  /** Measured on text that was not calibrated on; null where nothing was calibrated. */
  meanKl: number | null;
  top1Agreement: number | null;
  perplexityBefore: number | null;
  perplexityAfter: number | null;
  /** Of this call. */
  seconds: number;
  /** Memory of the compressor at its most. */
  peakMemoryBytes: number;
}

/** What decides the result counts in `open` only; `signal` and `onProgress` are of the call they are given to. */
export interface CompressOptions {
  /**
   * Texts to calibrate on, or addresses of such; default: the texts beside the worker. A text that begins with `{` (an
   * address that ends in .jsonl) is conversations, one JSON object a line.
   */
  calibration?: string[];
  /** The same to measure the result on; default: the texts beside the worker, or the last eighth of `calibration`. */
  evaluation?: string[];
  /** Windows of 512 tokens to calibrate on. Default 8. */
  windows?: number;
  /** Windows to measure the result on. Default 8; 0 measures nothing. */
  heldOut?: number;
  seed?: number;
  threads?: number;
  /** Aborting pauses: what was done stays, and the same call goes on from there. */
  signal?: AbortSignal;
  onProgress?: (progress: CompressProgress) => void;
}

/** Work on this device that can go on. */
export interface Compression {
  id: string;
  /** Address of the source, for Compressor.open. */
  source: string;
  name: string;
  /** Size of the file that was being made; null while none is. */
  bytes: number | null;
  /** 0..1 of it, or of the measuring, which stays for further files. */
  done: number;
}
