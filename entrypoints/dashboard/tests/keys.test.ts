/** Keys: their names, which command they run, and when they are left to what has the focus. */
import assert from "node:assert/strict";
import { test } from "node:test";

/** As much of an element as keys look at. */
class FakeElement {
  tagName: string;
  isContentEditable: boolean;
  open = false;
  constructor(tagName: string, isContentEditable = false) {
    this.tagName = tagName;
    this.isContentEditable = isContentEditable;
  }
  closest(selector: string): FakeElement | null {
    return selector.split(", ").includes(this.tagName.toLowerCase()) ? this : null;
  }
  querySelector(): { focus: () => void } {
    return { focus: () => focused.push(this.tagName) };
  }
}

const focused: string[] = [];
const shown = new Map<string, FakeElement>(); // by selector
// The choice of keys is a preference, which the browser keeps.
Object.assign(globalThis, {
  HTMLElement: FakeElement,
  Element: FakeElement,
  document: { documentElement: { dataset: {} }, querySelector: (selector: string) => shown.get(selector) ?? null },
});
const { addCommands, handleKey, leaveToInputMethod, nameOf } = await import("../src/lib/keys.ts");
const { singleKeys } = await import("../src/lib/preferences.ts");

interface Press extends Partial<KeyboardEvent> {
  isPrevented?: boolean;
  isStopped?: boolean;
}

function press(key: string, more: Press = {}): Press & KeyboardEvent {
  const event: Press = {
    key, code: "", ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, defaultPrevented: false, timeStamp: 0, target: new FakeElement("BODY") as never,
    preventDefault: () => (event.isPrevented = true),
    stopImmediatePropagation: () => (event.isStopped = true),
    ...more,
  };
  return event as Press & KeyboardEvent;
}

/** The keys of commands that ran, in order, while `work` pressed keys. */
function ran(keys: readonly string[], work: () => void): string[] {
  const found: string[] = [];
  const remove = addCommands(keys.map((one) => ({ keys: one, label: one, run: () => found.push(one) })));
  work();
  remove();
  handleKey(press("Escape")); // a sequence that was begun ends
  return found;
}

test("a key is named by what it types and what is held", () => {
  const named: [string, Press, string][] = [
    ["j", {}, "j"],
    ["J", { shiftKey: true }, "Shift+j"],
    ["J", {}, "j"], // Caps Lock
    ["?", { shiftKey: true }, "?"],
    ["*", { shiftKey: true }, "*"],
    ["[", { altKey: true, ctrlKey: true }, "Ctrl+["], // Alt types it
    ["j", { altKey: true }, "Alt+j"],
    ["k", { metaKey: true }, "Ctrl+k"],
    [" ", {}, "Space"],
    ["ArrowLeft", { shiftKey: true }, "Shift+ArrowLeft"],
    ["о", { code: "KeyJ" }, "j"], // Cyrillic, at the place of J
    ["О", { code: "KeyJ", shiftKey: true }, "Shift+j"],
    ["é", { code: "Digit2" }, "é"],
    ["q", { code: "KeyA" }, "q"], // French
  ];
  for (const [key, more, name] of named) assert.equal(nameOf(press(key, more)), name);
});

test("a key runs the command of the last view that has it", () => {
  const found: string[] = [];
  const add = (who: string) => addCommands([{ keys: "j", label: who, run: () => found.push(who) }]);
  const [list, peek] = [add("list"), add("peek")];
  const event = press("j");
  handleKey(event);
  assert.equal(event.isPrevented, true);
  peek();
  handleKey(press("j"));
  list();
  const unknown = press("j");
  handleKey(unknown);
  assert.equal(unknown.isPrevented, undefined);
  assert.deepEqual(found, ["peek", "list"]);
  const [first, second] = [add("first"), add("second")];
  first(); // the one that stays is that of the other view
  handleKey(press("j"));
  second();
  assert.deepEqual(found.slice(2), ["second"]);
});

test("a command gets the event", () => {
  const event = press("Enter");
  let got: unknown;
  const remove = addCommands([{ keys: "Enter", label: "", run: (given) => (got = given) }]);
  handleKey(event);
  remove();
  assert.equal(got, event);
});

test("two keys in a row are one command, if the second comes soon", () => {
  const keys = ["g t", "g Shift+o", "t"];
  const pressed = (...times: [string, number][]) => ran(keys, () => times.forEach(([key, timeStamp]) => handleKey(press(key, { timeStamp, shiftKey: /[A-Z]/.test(key) }))));
  assert.deepEqual(pressed(["g", 10_000], ["t", 11_000]), ["g t"]);
  assert.deepEqual(pressed(["g", 10_000], ["t", 12_000]), ["t"]);
  assert.deepEqual(pressed(["g", 10_000], ["Shift", 10_100], ["O", 10_200]), ["g Shift+o"]);
  assert.deepEqual(pressed(["g", 10_000], ["g", 10_100], ["t", 10_200]), ["g t"]); // begun again
  assert.deepEqual(pressed(["g", 10_000], ["x", 10_100], ["t", 10_200]), ["t"]); // given up
  assert.deepEqual(pressed(["g", 10_000], ["t", 10_100], ["t", 10_200]), ["g t", "t"]);
});

test("single keys are left to what is typed into, and can be switched off", () => {
  const keys = ["j", "Escape", "Ctrl+k"];
  const pressAll = (target: unknown) => () => {
    handleKey(press("j", { target: target as never }));
    handleKey(press("Escape", { target: target as never }));
    handleKey(press("k", { ctrlKey: true, target: target as never }));
  };
  for (const target of [...["INPUT", "TEXTAREA", "SELECT"].map((name) => new FakeElement(name)), new FakeElement("DIV", true)]) {
    assert.deepEqual(ran(keys, pressAll(target)), ["Escape", "Ctrl+k"]);
  }
  for (const target of [new FakeElement("BODY"), null]) assert.deepEqual(ran(keys, pressAll(target)), keys);
  singleKeys.value = "off";
  assert.deepEqual(ran(keys, pressAll(new FakeElement("BODY"))), ["Escape", "Ctrl+k"]);
  singleKeys.value = "on";
});

test("a focused control keeps the keys that press it", () => {
  const pressOn = (name: string) => ran(["Enter", "Space", "j"], () => {
    for (const key of ["Enter", " ", "j"]) handleKey(press(key, { target: new FakeElement(name) as never }));
  });
  assert.deepEqual(pressOn("A"), ["Space", "j"]);
  assert.deepEqual(pressOn("BUTTON"), ["j"]);
  assert.deepEqual(pressOn("SUMMARY"), ["j"]);
  assert.deepEqual(pressOn("TR"), ["Enter", "Space", "j"]);
});

test("a key that a part of the page has taken runs no command", () => {
  assert.deepEqual(ran(["j"], () => handleKey(press("j", { defaultPrevented: true }))), []);
});

test("behind a dialog, only the palette is opened", () => {
  shown.set("dialog[open]", new FakeElement("DIALOG"));
  const found = ran(["j", "Escape", "Ctrl+k"], () => {
    handleKey(press("j"));
    handleKey(press("Escape"));
    handleKey(press("k", { ctrlKey: true }));
  });
  shown.set(".sign-in", new FakeElement("DIV")); // over a page whose session has ended
  const others = ran(["Ctrl+k"], () => handleKey(press("k", { ctrlKey: true })));
  shown.clear();
  assert.deepEqual(found, ["Ctrl+k"]);
  assert.deepEqual(others, []);
});

test("Escape closes an open menu first, and gives its button the focus", () => {
  const menu = new FakeElement("DETAILS");
  menu.open = true;
  shown.set(".menu[open]", menu);
  const found = ran(["Escape"], () => {
    handleKey(press("Escape"));
    shown.clear(); // it isn't open any more
    handleKey(press("Escape"));
  });
  assert.equal(menu.open, false);
  assert.deepEqual(focused.splice(0), ["DETAILS"]);
  assert.deepEqual(found, ["Escape"]);
});

test("an input method keeps its keys", () => {
  const stopped = (more: Press): boolean => {
    const event = press("Enter", more);
    leaveToInputMethod(event);
    return event.isStopped === true;
  };
  assert.deepEqual([{ isComposing: true }, { keyCode: 229 }, { keyCode: 13 }].map(stopped), [true, true, false]);
});
