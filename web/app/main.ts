// The app's start: makes the parts, wires them to each other and begins with the model last used here. Everything that
// computes lives in the library; this page imports nothing of it but its public surface.

import { Catalog } from './catalog.ts';
import { Conversation } from './conversation.ts';
import { startOffline } from './offline.ts';
import { readModel, readSettings, type Settings, writeSettings } from './prefs.ts';
import { RequestCounter } from './privacy.ts';
import { type LoadRequest, Session } from './session.ts';
import { SmallerEntry } from './smaller_entry.ts';
import { type AppState, Store, initialState } from './state.ts';
import { Announcer } from './ui/announce.ts';
import { ChatList } from './ui/chat.ts';
import { Composer } from './ui/composer.ts';
import { byId, h } from './ui/dom.ts';
import { ModelPanel } from './ui/models.ts';
import { Notices } from './ui/notices.ts';
import { SettingsDialog } from './ui/settings.ts';
import { showStatus } from './ui/status.ts';
import { applyTheme, isDark, onSystemTheme } from './ui/theme.ts';

const kIdeas = ['Why is the sky blue?', 'Write a short poem about a walnut tree', 'Explain what a prime number is, with an example'];

let settings = readSettings();
applyTheme(settings.theme);

const query = new URLSearchParams(location.search);
const store = new Store<AppState>(initialState());
const session = new Session(store, () => settings, query);
const catalog = new Catalog();
const announcer = new Announcer();
const chat = new ChatList(announcer, () => void conversation.regenerate());
const conversation = new Conversation(store, session, () => settings, chat);
const smaller = new SmallerEntry({
  store,
  session,
  catalog,
  announcer,
  stopAnswer: () => conversation.stop(),
  chat: (source, name) => void load({ source, name }).then((ready) => ready && composer.focus()),
  modelsChanged: () => void models.refresh(),
});
const models = new ModelPanel(catalog, (request) => void load(request), () => store.state.info?.model.url ?? null, (model, opener) => void smaller.open(model, opener));
const counter = new RequestCounter((requests) => store.set({ requests }));
const composer = new Composer(store, {
  send: (text) => void conversation.send(text),
  stop: () => void conversation.stop(),
  needModel: () => models.open(),
});
const dialog = new SettingsDialog(settings, changeSettings);

new Notices(
  store,
  {
    retry: () => void (store.state.problem?.during === 'answer' ? conversation.regenerate() : finishLoad(session.retry())),
    pick: () => models.open(),
    file: () => models.openFile(),
    'new-chat': () => void newChat(),
    completion: () => void conversation.useCompletion(),
    unload: () => void finishLoad(session.unloadAndRetry()),
  },
  () => session.cancel(),
  () => store.set({ problem: null }),
);
showStatus(store, () => counter.names);
// Until it is known whether a model loads by itself, the panel would only flash up.
let began = false;
store.subscribe(({ phase, info }) => {
  began ||= phase !== 'empty';
  models.setInPage(began && info === null, phase);
});

function changeSettings(next: Settings): void {
  settings = next;
  writeSettings(settings);
  applyTheme(settings.theme);
}

async function load(request: LoadRequest): Promise<boolean> {
  await conversation.stop();
  return finishLoad(session.load(request));
}

async function finishLoad(loading: Promise<boolean>): Promise<boolean> {
  const ready = await loading;
  if (ready) {
    models.close();
    counter.reset();
    announcer.say(`${store.state.modelName ?? 'The model'} is ready.`);
  }
  void models.refresh();
  return ready;
}

async function newChat(): Promise<void> {
  await conversation.newChat();
  composer.focus();
}

/** The files at the top of a dropped folder. */
async function filesOf(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader();
  const files: File[] = [];
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return files;
    for (const entry of entries) {
      if (entry.isFile) files.push(await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)));
    }
  }
}

/** Files or a folder dropped anywhere on the page are opened as one model. */
function acceptDrops(): void {
  document.addEventListener('dragover', (event) => event.preventDefault());
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    const entry = event.dataTransfer?.items[0]?.webkitGetAsEntry();
    if (entry?.isDirectory) void filesOf(entry as FileSystemDirectoryEntry).then((files) => models.loadFiles(files, entry.name));
    else models.loadFiles([...(event.dataTransfer?.files ?? [])]);
  });
}

function offerUpdate(apply: () => void): void {
  const button = h('button', { type: 'button', class: 'update', onclick: apply }, 'A new version is here. Use it');
  byId('overlay').append(button);
}

function showPanel(): void {
  began = true;
  store.set({});
}

async function start(): Promise<void> {
  byId('new-chat').addEventListener('click', () => void newChat());
  byId('theme').addEventListener('click', () => {
    changeSettings({ ...settings, theme: isDark(settings.theme) ? 'light' : 'dark' });
    dialog.take(settings);
  });
  onSystemTheme(() => applyTheme(settings.theme));
  byId('ideas').append(...kIdeas.map((idea) => h('button', { type: 'button', class: 'idea', onclick: () => composer.use(idea) }, idea)));
  acceptDrops();
  startOffline(store, offerUpdate);
  conversation.restore();
  void smaller.offerUnfinished();
  if (matchMedia('(pointer: fine)').matches) composer.focus();
  const last = readModel();
  const served = catalog.fetchServed();
  if (query.get('load') === '0') {
    showPanel();
    await served;
    return models.refresh();
  }
  if (last) {
    const request = catalog.find(last.id) ?? { name: last.name, source: last.id };
    await finishLoad(session.load(request));
    return;
  }
  await served;
  if (session.loading) return; // the user was quicker
  if (catalog.standard) await finishLoad(session.load(catalog.standard));
  else showPanel();
}

void start();
