// Names of a model's files, as the core knows them.

/**
 * The name of a file within its model: the last part of its path, but with the folder for the `config.json` of a module of
 * sentence-transformers (`1_Pooling/config.json`), which is another file than the model's own.
 */
export function nameInFolder(path: string): string {
  return /(?:^|\/)(\d+_\w+\/config\.json)$/.exec(path)?.[1] ?? path.slice(path.lastIndexOf('/') + 1);
}
