// One of several pages leads, whatever the others do: simulated with a clock and a channel.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Election } from "../../server/static/election.js";

class Room {
  now = 0;
  said = []; // [sender, message] that did not arrive yet
  pages = new Map();

  /** A page comes; its messages arrive at all others a moment later, or when they thaw. */
  enter(id) {
    const page = { frozen: false, inbox: [], follows: null };
    page.election = new Election(id, this.now, {
      send: (message) => this.say(id, message),
      onLead: () => (page.follows = id),
      onFollow: (leader) => (page.follows = leader),
    });
    this.pages.set(id, page);
    return page;
  }

  say(from, message) {
    this.said.push([from, message]);
  }

  deliver() {
    for (const [from, message] of this.said.splice(0)) {
      for (const [id, page] of this.pages) if (id !== from) page.inbox.push(message);
    }
    for (const page of this.pages.values()) {
      if (page.frozen) continue;
      for (const message of page.inbox.splice(0)) page.election.take(message, this.now);
    }
  }

  pass(ms) {
    for (const end = this.now + ms; this.now < end; this.now += 100) {
      this.deliver();
      for (const { frozen, election } of this.pages.values()) if (!frozen) election.tick(this.now);
    }
  }

  leaders() {
    return [...this.pages].filter(([, { election }]) => election.leads).map(([id]) => id);
  }
}

test("a page that is opened alone leads within half a second", () => {
  const room = new Room();
  room.enter("a");
  room.pass(500);
  assert.deepEqual(room.leaders(), ["a"]);
});

test("of ten pages that are opened at once one leads, and all others follow it", () => {
  const room = new Room();
  for (const id of "abcdefghij") room.enter(id);
  room.pass(2000);
  const [leader, ...more] = room.leaders();
  assert.deepEqual(more, []);
  for (const { follows } of room.pages.values()) assert.equal(follows, leader);
});

test("a new page does not disturb the leader", () => {
  const room = new Room();
  room.enter("b");
  room.pass(1000);
  const late = room.enter("a");
  room.pass(5000);
  assert.deepEqual(room.leaders(), ["b"]);
  assert.equal(late.follows, "b");
});

test("a leader that resigns is replaced at once, one that vanishes within five seconds", () => {
  const room = new Room();
  for (const id of "abc") room.enter(id);
  room.pass(2000);
  const [first] = room.leaders();
  room.pages.get(first).election.resign();
  room.pages.delete(first);
  room.pass(1500);
  const [second, ...more] = room.leaders();
  assert.deepEqual([more, second !== first], [[], true]);
  room.pages.delete(second);
  room.pass(5000);
  assert.equal(room.leaders().length, 1);
});

test("a leader that was frozen steps down when it thaws", () => {
  const room = new Room();
  room.enter("a");
  room.pass(1000);
  room.enter("b");
  room.pass(500);
  room.pages.get("a").frozen = true;
  room.pass(6000);
  assert.deepEqual(room.pages.get("b").follows, "b");
  room.pages.get("a").frozen = false;
  room.pass(2000);
  assert.deepEqual(room.leaders(), ["b"]);
  assert.equal(room.pages.get("a").follows, "b");
});
