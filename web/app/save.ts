// Saves a model of this device as a file of the user's: where the browser can, into a place they choose, else as a
// download. The bytes go from file to file; none of it is held in memory.

import { storedFile } from '../src/index.ts';

type SavePicker = (options: { suggestedName: string }) => Promise<FileSystemFileHandle>;

/** False when the user chose no place. */
export async function saveModel(url: string, name: string): Promise<boolean> {
  const file = await storedFile(url);
  const picker = (window as { showSaveFilePicker?: SavePicker }).showSaveFilePicker;
  if (!picker) {
    download(file, name);
    return true;
  }
  let target: FileSystemFileHandle;
  try {
    target = await picker({ suggestedName: name });
  } catch (error) {
    if (error instanceof Error && error.name === 'AbortError') return false;
    throw error;
  }
  await file.stream().pipeTo(await target.createWritable());
  return true;
}

function download(file: File, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // once the browser has surely opened it
}
