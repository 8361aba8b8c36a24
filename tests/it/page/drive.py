"""Looks at the page as an admin does: drive.py BASE_URL SCREENSHOT_FOLDER. Ends with "all seen", or with what is wrong."""

import pathlib
import re
import shutil
import sys
import time
from datetime import datetime, timedelta

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

BASE, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
OPERATOR, VIEWER = "operator-token-1", "viewer-token-1"
PATIENCE = 40_000
expect.set_options(timeout=PATIENCE)

AXE = Axe()
NOBODY = "/jobs/01JD8Y3K5V7Q2W9XZB4N6M8P0R"

# A browser notes each refused call: the first look for a session, and what these walks ask for on purpose.
KNOWN = [(401, ""), (409, "/replay"), (404, f"/api/v1{NOBODY}"), (400, "/api/v1/jobs?"), (503, "/api/v1/replays/")]

wrong = []


def watch(context):
    """Everything that must not happen is remembered."""
    context.set_default_timeout(PATIENCE)
    context.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.error('VIOLATION ' + e.violatedDirective + ' ' + e.blockedURI));"
    )

    def request(sent):
        if not sent.url.startswith(BASE + "/"):
            wrong.append(f"a request to elsewhere: {sent.url}")
        # However many have failed, no more than a page of them is asked for.
        limit = re.search(r"/api/v1/jobs\?.*limit=(\d+)", sent.url)
        if limit and int(limit[1]) > 50:
            wrong.append(f"more than a page: {sent.url}")

    def console(message):
        if any(f"{status} (" in message.text and path in message.location["url"] for status, path in KNOWN):
            return
        if message.type == "error":
            wrong.append(f"in the console: {message.text} at {message.location['url']}")

    def page(opened):
        opened.on("console", console)
        opened.on("pageerror", lambda error: wrong.append(f"a script fails: {error}"))
        opened.on("dialog", lambda dialog: (wrong.append(f"an alert: {dialog.message}"), dialog.dismiss()))

    context.on("request", request)
    context.on("page", page)


def sign_in(page, token, path="/"):
    page.goto(BASE + path)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()


def tab_to(page, name):
    """Tab until something of this name has the focus, and see that it shows."""
    for _ in range(200):
        page.keyboard.press("Tab")
        focused = page.evaluate("(() => { const e = document.activeElement; return (e.getAttribute('aria-label') ?? e.textContent ?? '').trim() })()")
        if re.fullmatch(name, focused):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth")
            assert outline == "solid3px", f"nobody sees that {name} has the focus: {outline}"
            return
    raise AssertionError(f"the keyboard does not reach {name}")


def ask_again(page):
    """As when somebody comes back to the page: it does not wait for its next turn."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def refused_sign_in(page):
    page.goto(BASE + "/")
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="Not signed in: the worker does not know this token.")).to_be_visible()
    assert not page.context.cookies(), "no cookie for a wrong token"


def journey(page):
    """Sign in, find a failure, read why, replay a filtered set, see it delivered."""
    sign_in(page, OPERATOR)
    cookie = page.context.cookies()[0]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and OPERATOR not in cookie["value"], cookie
    assert page.evaluate("document.cookie") == "", "no script sees the cookie"
    expect(page.get_by_role("heading", name="Needs a person")).to_be_visible()
    expect(page.get_by_text("night-school is held")).to_be_visible()
    expect(page.locator(".needs li").filter(has_text="academy is paused by ops")).to_contain_text("upgrade tonight")
    expect(page.locator(".needs")).to_contain_text("nothing waits there now; what comes will wait until somebody resumes it.")
    expect(page.locator(".needs li").filter(has_text="at campus")).to_contain_text("It answers, but 0 of 60 attempts since the start went well.")
    expect(page.get_by_role("row", name=re.compile("^campus")).locator(".state.few")).to_contain_text("Open")
    expect(page.get_by_text("closed gives no token")).to_be_visible()
    expect(page.locator(".needs")).to_contain_text("1 token refused (token_refused), 1 refused by the LMS (rejected)")
    expect(page.get_by_text(re.compile(r"Attempts are counted since .+, when the worker started"))).to_be_visible()
    expect(page.get_by_role("columnheader", name="Success since the start")).to_be_visible()
    page.locator(".needs").get_by_role("link", name=re.compile("60 grades flagged")).click()
    expect(page).to_have_url(re.compile(r"#/failures\?platform=campus$"))
    expect(page.get_by_role("heading", name="Failures", exact=True)).to_be_focused()
    expect(page.locator(".group")).to_contain_text("60 refused by the LMS (rejected)")
    page.get_by_role("link", name=re.compile("Show refused by the LMS at campus")).click()
    expect(page).to_have_url(re.compile("platform=campus&reason=rejected"))
    rows = page.locator("table.jobs tbody tr")
    expect(rows).to_have_count(50)
    takes_what_stands_in_the_fields(page, rows)
    survives_a_reload(page, rows)
    reads_one(page)
    counts_before_it_discards(page)
    replays_all(page)
    sees_what_became_of_it(page)


def takes_what_stands_in_the_fields(page, rows):
    """What was typed is never lost, and nothing is selected or done under another filter."""
    everyone = page.url
    student = page.get_by_label("Student", exact=True)
    expect(student).not_to_be_visible()
    page.set_viewport_size({"width": 1200, "height": 850})
    assert rows.first.bounding_box()["y"] < 850, "what has failed is in view"
    page.get_by_text("More filters").click()
    nothing_covers(page, page.get_by_role("button", name="Apply"))
    nothing_covers(page, page.get_by_label("Stored before"))
    page.set_viewport_size(SIZES["wide"])
    student.fill("student-007")
    with page.expect_response("**/api/v1/jobs?*"):
        ask_again(page)
    expect(student).to_have_value("student-007")
    # Not applied yet: the button applies it, and takes what passes it.
    page.get_by_role("button", name="Select all that match").click()
    expect(page.get_by_text("All 1 that match, on all pages, are selected.")).to_be_visible()
    expect(rows).to_have_count(1)
    assert "user_id=student-007" in page.url, page.url
    expect(selected(page, "Replay 1 …")).to_be_focused()
    # Another filter: what was selected is selected no more, and the press does nothing.
    student.fill("student-008")
    selected(page, "Discard 1 …").click()
    expect(page.get_by_text("The filter has changed, so nothing is selected any more.")).to_be_visible()
    expect(rows).to_have_text([re.compile("student-008")])
    expect(page.get_by_role("dialog")).to_have_count(0)
    # Enter applies it, and so does leaving the field; the place stays.
    student.fill("student-009")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("user_id=student-009$"))
    expect(page.get_by_role("link", name="student-009")).to_be_visible()
    expect(student).to_be_focused()
    student.fill("")
    page.keyboard.press("Tab")
    expect(rows).to_have_count(50)
    assert page.url == everyone, page.url
    expect(page.get_by_label("Session", exact=True)).to_be_focused()
    # What narrows nothing is said to narrow nothing.
    page.goto(everyone + "&platfrm=moodle")
    expect(page.locator(".told")).to_contain_text("platfrm in the address is no filter and narrows nothing")
    page.goto(everyone)
    expect(page.locator(".told")).to_have_count(0)


def nothing_covers(page, thing):
    thing.scroll_into_view_if_needed()
    on_top = thing.evaluate("(e) => { const b = e.getBoundingClientRect(); return document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2) === e }")
    assert on_top and page.locator(".actions").evaluate("(e) => getComputedStyle(e).position") == "static", f"{thing} is covered"


def survives_a_reload(page, rows):
    page.get_by_label("Session", exact=True).fill("session-student-007")
    page.get_by_role("button", name="Apply").click()
    expect(rows).to_have_count(1)
    address = page.url
    page.reload()
    expect(rows).to_have_count(1)
    assert page.url == address and "session_id=session-student-007" in address, page.url
    expect(page.get_by_label("Session", exact=True)).to_have_value("session-student-007")
    expect(page.get_by_label("Reason")).to_have_value("rejected")


def reads_one(page):
    page.get_by_role("link", name="student-007").click()
    expect(page.get_by_role("heading", name="Student student-007 got 8 of 10 for Quiz 2.")).to_be_focused()
    expect(page.get_by_text("not enrolled").first).to_be_visible()
    expect(page.get_by_text("What to do:")).to_be_visible()
    told = page.locator(".timeline time").first
    exact, shown = told.get_attribute("datetime"), told.get_attribute("title")
    assert exact.endswith("Z") and exact in shown and "2:30" not in told.inner_text(), "the exact time stands there on hover"
    zone = page.evaluate("Intl.DateTimeFormat(undefined, {timeZoneName: 'long'}).formatToParts().find((p) => p.type === 'timeZoneName').value")
    assert zone == "India Standard Time" and "GMT+5:30" in shown, f"in the reader's zone: {shown}"
    page.get_by_role("button", name="Verify now").click()
    expect(page.locator("#read-back")).to_contain_text("The LMS has no grade here.")
    expect(page.locator("#spoken")).to_have_text("The LMS has no grade here.")
    expect(page.locator("dl")).to_contain_text("Quiz 2 (quiz)")
    tells_who_changed_it(page)
    expect(page.locator(".verdict")).to_contain_text("refused by the LMS (rejected)")
    expect(page.locator(".timeline li")).to_contain_text("refused by the LMS (rejected)")
    knows_what_it_does_not_know(page)
    page.get_by_role("button", name=re.compile("^Replay")).click()
    page.get_by_role("dialog", name="Replay 1 grade?").get_by_role("button", name="Replay", exact=True).click()
    dialog = page.get_by_role("dialog", name="Replayed 1 grade: delivered")
    expect(dialog.get_by_role("status")).to_have_text("Delivered.")
    closes_with_its_result(page, dialog)
    # What listens hears no old story, and the menu counts one less.
    expect(page.locator("#spoken")).not_to_contain_text("is flagged")
    expect(page.locator("#top .number")).to_have_text("61")
    expect(page.get_by_role("link", name="Delivered grades")).to_be_visible()
    # The button that opened it is gone with the failure.
    expect(page.get_by_role("heading", name="Student student-007 got 8 of 10 for Quiz 2.")).to_be_focused()
    expect(page.locator(".verdict")).to_contain_text("Delivered")
    expect(page.locator(".timeline li:not(.change)")).to_have_count(2)
    expect(page.locator(".timeline li.change")).to_contain_text("replayed by ops")


def tells_who_changed_it(page):
    """What people did stands among the attempts, and who gave a grade up in the head."""
    of_one = re.compile(r"/api/v1/jobs/[0-9A-Z]{26}$")

    def changed(route):
        answer = route.fetch()
        job = answer.json()
        first = job["attempts"][0]
        began = datetime.fromisoformat(first["started_at"])
        after = [(began + timedelta(seconds=n)).isoformat() for n in range(4)]
        changes = [{"at": after[1], "who": "ops", "action": "replay", "note": "the key is there now", "bulk": job["id"]},
                   {"at": after[3], "who": "ann", "action": "discard", "note": "sent by hand", "bulk": None}]
        attempts = [first, {**first, "started_at": after[2]}]
        route.fulfill(response=answer, json=job | {"state": "discarded", "changes": changes, "attempts": attempts})

    page.route(of_one, changed)
    ask_again(page)
    verdict = page.locator(".verdict .head")
    expect(verdict).to_contain_text(re.compile("Given up by ann, .+: sent by hand; it is not sent[.]"))
    told = page.locator(".timeline li")
    expect(told).to_have_count(4)
    expect(told.nth(0)).to_contain_text("discarded by ann: sent by hand")
    expect(told.nth(2)).to_contain_text("replayed by ops: the key is there now")
    expect(told.nth(2).get_by_role("link", name="with others")).to_have_attribute("href", re.compile("^#/bulk/[0-9A-Z]{26}$"))
    expect(page.get_by_role("link", name="Discarded grades")).to_be_visible()
    everywhere(page, "job-discarded")
    page.unroute(of_one)
    waits = {"why": "paused", "since": None, "until": None, "error": None}
    page.route(of_one, lambda route: with_members(route, {"state": "queued", "platform": "academy", "waits": waits}))
    ask_again(page)
    expect(page.locator(".waits")).to_contain_text("academy is paused by ops (upgrade tonight): nothing is sent there")
    page.unroute(of_one)
    ask_again(page)
    expect(page.locator("main").get_by_role("link", name="Failures", exact=True)).to_be_visible()


def closes_with_its_result(page, dialog):
    """The focus is on the way out, which says what was done."""
    close = dialog.get_by_role("button", name="Close")
    expect(close).to_be_focused()
    assert page.evaluate("document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent"), "the title"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)


def knows_what_it_does_not_know(page):
    """No answer is no "no"; a refusal is one."""
    opener = page.get_by_role("button", name=re.compile("^Replay"))
    of_one = re.compile(r"/api/v1/jobs/[0-9A-Z]{26}/replay$")
    page.evaluate("window.real = AbortSignal.timeout; AbortSignal.timeout = () => AbortSignal.abort(new DOMException('late', 'TimeoutError'))")
    opener.click()
    page.get_by_role("dialog").get_by_role("button", name="Replay", exact=True).click()
    dialog = page.get_by_role("dialog", name="It is not known whether it was done")
    page.evaluate("AbortSignal.timeout = window.real")
    expect(dialog).to_contain_text("The worker did not answer in time, but it may have done it all the same. Before you do it again, look at the grade and at the audit log.")
    everywhere(page, "not-known")
    closes_with_its_result(page, dialog)
    expect(opener).to_be_focused()
    page.route(of_one, lambda route: route.fulfill(status=409, json={"detail": "the job is delivered"}))
    opener.click()
    page.get_by_role("dialog").get_by_role("button", name="Replay", exact=True).click()
    dialog = page.get_by_role("dialog", name="It was not done")
    expect(dialog.get_by_role("status")).to_have_text("The job is delivered.")
    closes_with_its_result(page, dialog)
    page.unroute(of_one)


def selected(page, action):
    return page.get_by_role("group", name="What to do with the selected").get_by_role("button", name=action)


def replays_all(page):
    page.goto(BASE + "/#/failures?platform=campus&reason=rejected")
    expect(page.locator("table.jobs tbody tr")).to_have_count(50)
    page.get_by_role("link", name="Older").click()
    expect(page.locator("table.jobs tbody tr")).to_have_count(9)
    page.get_by_role("link", name="Newest").click()
    # Two by hand: the result of each is told.
    for box in page.locator("tbody").get_by_role("checkbox").all()[:2]:
        box.check()
    expect(page.get_by_text("2 grades selected.")).to_be_visible()
    everywhere(page, "selected")
    selected(page, "Replay").click()
    page.get_by_role("dialog", name="Replay 2 grades?").get_by_role("button", name="Replay", exact=True).click()
    dialog = page.get_by_role("dialog", name="Replayed 2 grades: 2 delivered")
    expect(dialog.get_by_role("cell", name="delivered")).to_have_count(2)
    everywhere(page, "result-of-each")
    closes_with_its_result(page, dialog)
    expect(page.get_by_role("heading", name="Flagged grades that pass the filter")).to_be_focused()
    # A discard is asked for, and the first key does not carry it out. The groups know the number.
    page.get_by_role("button", name="Select all that match").click()
    expect(selected(page, "Replay")).to_be_focused()
    selected(page, "Discard").click()
    dialog = page.get_by_role("dialog", name="Discard 57 flagged grades?")
    expect(dialog.get_by_label("Why?")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_visible()
    expect(dialog.get_by_role("button", name="Discard 57")).to_be_focused()
    expect(dialog).to_contain_text("Enter leads on to Discard; it is done when you press that.")
    everywhere(page, "confirm-discard")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(selected(page, "Discard")).to_be_focused()
    replays_while_it_is_counted(page)
    expect(page.get_by_text("No grade passes this filter.")).to_be_visible()
    nothing_is_left(page)
    # Two filters chosen faster than an answer comes: neither is lost.
    page.get_by_label("State").select_option("delivered")
    page.get_by_label("Reason").select_option("")
    expect(page.locator("table.jobs tbody tr")).to_have_count(50)
    expect(page.locator("table.jobs tbody").get_by_text("Delivered").first).to_be_visible()
    assert "state=delivered" in page.url and "reason" not in page.url, page.url


def nothing_is_left(page):
    """Somebody was faster: there is nothing to press."""
    page.goto(BASE + "/#/failures?platform=closed&reason=rejected")
    page.get_by_role("button", name="Select all that match").click()
    none = {"groups": [], "omitted": 0}
    page.route("**/api/v1/groups?*", lambda route: route.fulfill(json=none))
    page.route("**/api/v1/replay", lambda route: route.fulfill(json={"matched": 0, "replayed": 0, "superseded": 0}))
    selected(page, "Replay").click()
    dialog = page.get_by_role("dialog", name="Nothing to replay")
    expect(dialog.get_by_role("status").first).to_have_text("No flagged grade passes this filter now.")
    expect(dialog.get_by_role("button")).to_have_text(["Cancel"])
    page.unroute("**/api/v1/groups?*")
    page.unroute("**/api/v1/replay")
    page.keyboard.press("Escape")
    page.goto(BASE + "/#/failures?platform=campus&reason=rejected")
    expect(page.get_by_text("No grade passes this filter.")).to_be_visible()


def until(page, is_so):
    """Lets the page go on until it has come to this."""
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, "it never came to this"
        page.wait_for_timeout(5)


def counts_before_it_discards(page):
    """What cannot be undone is not even offered before one knows to how many it is done."""
    counts = []
    page.goto(BASE + "/#/failures?platform=campus&reason=rejected&delivery=lti11")
    expect(page.get_by_label("Delivery")).to_have_value("lti11")
    page.get_by_role("button", name="Select all that match").click()
    page.route("**/api/v1/discard", lambda route: counts.append(route))
    selected(page, "Discard").click()
    dialog = page.get_by_role("dialog", name="Discard all flagged grades that match?")
    expect(dialog).to_contain_text("They are being counted; they cannot be given up before that.")
    expect(dialog.get_by_role("button")).to_have_text(["Cancel"])
    until(page, lambda: counts)
    counts.pop().continue_()
    dialog = page.get_by_role("dialog", name=re.compile(r"Discard \d+ flagged grades?\?"))
    expect(dialog.get_by_role("button", name=re.compile(r"Discard \d+"))).to_be_enabled()
    assert not counts, "a count is no discard"
    page.keyboard.press("Escape")
    page.unroute("**/api/v1/discard")
    # Who selects none is not lost either where the list is of grades that are not flagged.
    page.goto(BASE + "/#/failures?state=queued")
    expect(page.get_by_label("State")).to_have_value("queued")
    page.locator("table.jobs tbody input").first.check()
    page.get_by_role("button", name="Select none").click()
    expect(page.locator("#actions")).to_be_focused()
    page.goto(BASE + "/#/failures?platform=campus&reason=rejected")
    expect(page.get_by_label("Reason")).to_have_value("rejected")


def replays_while_it_is_counted(page):
    """The number stands there at once; what takes its time is filled in, and nobody waits for it."""
    rehearsals = []
    page.route("**/api/v1/replay", lambda route: rehearsals.append(route) if "dry_run" in route.request.post_data else route.continue_())
    selected(page, "Replay").click()
    dialog = page.get_by_role("dialog", name="Replay 57 flagged grades?")
    expect(dialog).to_contain_text("How many have a newer one is being counted")
    expect(dialog.get_by_role("button", name="Replay 57")).to_be_enabled()
    dialog.get_by_label("Why?").fill("enrolled them")
    everywhere(page, "confirm")
    until(page, lambda: rehearsals)
    rehearsals.pop().continue_()
    expect(dialog).to_contain_text("57 grades will be tried again")
    expect(dialog).to_contain_text("None has a newer grade in the same cell.")
    assert dialog.get_by_label("Why?").input_value() == "enrolled them"
    page.unroute("**/api/v1/replay")
    # The worker starts anew in the middle of it: the page asks again. Then some go through and some fail once more.
    silences = [1, 2]
    now = {"queued": 7, "delivered": 40, "flagged": 10, "superseded": 0, "discarded": 0, "gone": 0}

    def of_one(route):
        if silences:
            silences.pop()
            return route.fulfill(status=503, json={"detail": "it starts"})
        answer = route.fetch()
        task = answer.json()
        return route.fulfill(response=answer, json=task | ({"now": now} if task["state"] == "done" else {}))

    page.route(OF_ONE_CHANGE, of_one)
    dialog.get_by_role("button", name="Replay 57").click()
    watched = page.get_by_role("dialog", name="57 grades queued again")
    expect(watched.get_by_role("status")).to_contain_text("57 queued again: watch here what becomes of them")
    expect(watched).to_contain_text("Now: 40 delivered, 7 queued, 10 flagged again.")
    now |= {"queued": 0, "delivered": 45, "flagged": 12}
    dialog = page.get_by_role("dialog", name="Replayed 57 grades")
    expect(dialog.get_by_role("status")).to_contain_text("Now: 45 delivered, 12 flagged again.")
    expect(dialog.get_by_role("link", name="All failures at campus")).to_be_visible()
    expect(dialog.get_by_role("link", name="To its own page")).to_be_visible()
    assert not silences, "it was asked again"
    page.unroute(OF_ONE_CHANGE)
    everywhere(page, "bulk-result")
    closes_with_its_result(page, dialog)


OF_ONE_CHANGE = re.compile(r"/api/v1/replays/[0-9A-Z]{26}$")


def sees_what_became_of_it(page):
    page.goto(BASE + "/#/audit")
    first = page.locator("tbody tr").first
    expect(first).to_contain_text("enrolled them")
    expect(first.get_by_role("link", name=re.compile("^flagged grades at campus"))).to_have_attribute("href", re.compile("^#/bulk/[0-9A-Z]{26}$"))
    page.get_by_role("link", name="Bulk changes").click()
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("57 queued again")
    expect(row.locator(".state")).to_contain_text("Done")
    expect(row).to_contain_text("Now: 57 delivered.")
    page.route("**/api/v1/replays?*", with_now_in_list)
    ask_again(page)
    expect(row.locator(".state")).to_contain_text("Some flagged again")
    expect(row).to_contain_text("Now: 50 delivered, 7 flagged again.")
    page.unroute("**/api/v1/replays?*")
    row.get_by_role("link", name="Replay at campus").click()
    expect(page.get_by_role("heading", name="Replay of flagged grades at campus, refused by the LMS")).to_be_focused()
    expect(page.locator(".verdict")).to_contain_text("57 queued again")
    each = page.get_by_role("table", name="What became of each grade").locator("tbody tr")
    expect(each.first).to_contain_text("queued again")
    expect(each.first).to_contain_text("Delivered")
    what_failed_again_does_not_look_done(page)


def with_now_in_list(route):
    answer = route.fetch()
    page = answer.json()
    now = {"queued": 0, "delivered": 50, "flagged": 7, "superseded": 0, "discarded": 0, "gone": 0}
    route.fulfill(response=answer, json=page | {"replays": [task | {"now": now} for task in page["replays"]]})


def what_failed_again_does_not_look_done(page):
    """The numbers go on by themselves, and those that failed again have the tone and a link."""
    expect(page.locator(".verdict")).to_contain_text("Now: 57 delivered.")
    now = {"queued": 0, "delivered": 57, "flagged": 0, "superseded": 0, "discarded": 0, "gone": 0}

    def with_now(route):
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"now": now})

    page.route(OF_ONE_CHANGE, with_now)
    ask_again(page)
    verdict = page.locator(".verdict")
    expect(verdict.locator(".state")).to_contain_text("Done")
    expect(verdict).to_contain_text("Now: 57 delivered.")
    now |= {"queued": 1_150, "delivered": 4_800}
    ask_again(page)
    expect(verdict.locator(".state")).to_contain_text("On their way")
    expect(verdict).to_contain_text("Now: 4,800 delivered, 1,150 queued.")
    now |= {"queued": 0, "flagged": 50, "gone": 2}
    # Nobody does anything here: it comes by itself.
    expect(verdict.locator(".state")).to_contain_text("Some flagged again")
    expect(verdict).to_contain_text("Now: 4,800 delivered, 50 flagged again, 2 not kept any more.")
    expect(verdict.locator(".wrong")).to_have_text("50 flagged again")
    everywhere(page, "bulk-failed-again")
    # Where the worker cannot tell, the page does not guess.
    page.unroute(OF_ONE_CHANGE)
    page.route(OF_ONE_CHANGE, without_now)
    ask_again(page)
    expect(verdict.locator(".state")).to_contain_text("Queued again")
    page.unroute(OF_ONE_CHANGE)
    page.route(OF_ONE_CHANGE, with_now)
    ask_again(page)
    expect(verdict.locator(".state")).to_contain_text("Some flagged again")
    verdict.get_by_role("link", name="All failures at campus").click()
    expect(page).to_have_url(re.compile(r"#/failures\?platform=campus$"))
    page.unroute(OF_ONE_CHANGE)
    fails_again(page)


def fails_again(page):
    """And so it is with a platform that says no once more."""
    page.goto(BASE + "/#/failures?platform=closed")
    page.get_by_role("button", name="Replay refused by the LMS at closed").click()
    page.get_by_role("dialog", name="Replay 1 flagged grade?").get_by_role("button", name="Replay 1").click()
    dialog = page.get_by_role("dialog", name="Replayed 1 grade")
    expect(dialog.get_by_role("status")).to_contain_text("Now: 1 flagged again.")
    dialog.get_by_role("link", name="To its own page").click()
    expect(page.get_by_role("heading", name="Replay of flagged grades at closed, refused by the LMS (rejected)")).to_be_focused()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".verdict .state")).to_contain_text("Flagged again")
    expect(page.get_by_role("table", name="What became of each grade")).to_contain_text("flagged again: refused by the LMS (rejected)")


def with_members(route, members):
    answer = route.fetch()
    route.fulfill(response=answer, json=answer.json() | members)


def without_now(route):
    with_members(route, {"now": None})


def checks_a_platform(page):
    """What is wrong on the way to a platform is said step by step; a grade that waits says for what."""
    sign_in(page, OPERATOR, "/#/platforms")
    page.get_by_role("button", name="Check closed").click()
    check = page.get_by_role("group", name="Check of closed")
    expect(check).to_contain_text(re.compile(r"1 step of \d failed"))
    expect(check).to_contain_text("HTTP 400")
    expect(check.locator(".advice")).to_be_visible()
    expect(page.locator("#spoken")).to_contain_text(re.compile(r"closed: 1 step of \d failed"))
    looks_no_further_than_it_sees(page)
    few = page.get_by_role("region", name="campus", exact=True)
    expect(few).to_contain_text("It answers, but takes few grades: 0 of 60 attempts since the start went well. See its failures.")
    expect(few.locator(".state.few")).to_contain_text("Open")
    closed = page.get_by_role("region", name="closed", exact=True)
    expect(closed).to_contain_text("refused")
    expect(closed).to_contain_text("0 of at most 16 at a time")
    everywhere(page, "checked")
    page.goto(BASE + "/#/platforms?name=nobody")
    expect(page.get_by_text("No platform's name has that in it.")).to_be_visible()
    page.get_by_role("link", name="Show all platforms").click()
    expect(page.get_by_role("button", name="Check closed")).to_be_visible()
    page.goto(BASE + "/#/failures?state=queued&platform=night-school")
    expect(page.locator("table.jobs tbody tr").first).to_contain_text("waits: night-school is held")
    page.locator("table.jobs tbody tr").filter(has_text="error of the LMS").first.get_by_role("link").click()
    expect(page.locator(".waits")).to_contain_text("night-school is held")
    expect(page.locator(".verdict")).to_contain_text(re.compile(r"It is not delivered yet: (1 attempt failed|\d+ attempts failed, the last): error of the LMS"))
    expect(page.get_by_role("link", name="Queued grades")).to_be_visible()
    everywhere(page, "job-held")


def looks_no_further_than_it_sees(page):
    """All is well where each step says so, and not where one is only not known to be wrong."""
    tried = {"step": "signature", "status": "warning", "seen": "nobody has tried the secret of key-1", "advice": "send a grade"}
    step = dict(tried)

    def signed(route):
        answer = route.fetch()
        found = answer.json()
        steps = [one for one in found["checks"] if one["status"] == "ok" and one["step"] != "signature"]
        route.fulfill(response=answer, json=found | {"ok": True, "checks": [*steps, step]})

    page.route("**/academy/check", signed)
    page.get_by_role("button", name="Check academy").click()
    check = page.get_by_role("group", name="Check of academy")
    verdict = check.locator("strong.unsure")
    expect(verdict).to_have_text("Nothing is wrong that can be seen from here; 1 thing is worth a look")
    expect(check).to_contain_text("nobody has tried the secret of key-1")
    everywhere(page, "check-unsure")
    step |= {"status": "ok", "seen": "a grade was taken", "advice": None}
    page.get_by_role("button", name="Check academy").click()
    expect(check.locator("strong.good")).to_have_text("All is well")
    page.unroute("**/academy/check")


def wrong_name(page):
    """A name that no platform has is said to be none, and the known ones are a click away."""
    sign_in(page, OPERATOR, "/#/failures?platform=campos&reason=rejected")
    expect(page.get_by_text("There is no platform named campos")).to_be_visible()
    everywhere(page, "unknown-platform")
    known = page.get_by_role("status").get_by_role("link")
    expect(known.first).to_have_text("campus")
    expect(known).to_have_count(5)
    known.first.click()
    expect(page).to_have_url(re.compile(r"#/failures\?platform=campus&reason=rejected$"))
    expect(page.locator("table.jobs tbody tr")).to_have_count(50)


def menu_on_a_phone(page):
    """In one line, whatever has failed."""
    page.set_viewport_size(SIZES["phone"])

    def many(route):
        answer = route.fetch()
        stats = answer.json()
        stats["jobs"]["flagged"] = 123_456
        route.fulfill(response=answer, json=stats)

    page.route("**/api/v1/stats", many)
    sign_in(page, OPERATOR)
    expect(page.locator("#top .number")).to_have_text("123K")
    items = [item.bounding_box() for item in page.locator("#top li a").all()]
    assert len(items) == 4 and len({item["y"] for item in items}) == 1 and {item["height"] < 45 for item in items} == {True}, items
    assert items[-1]["x"] + items[-1]["width"] <= 360, items
    fits(page, "menu", "phone")
    expect(page.locator(".who span").first).to_have_text("ops operator")
    page.unroute("**/api/v1/stats")
    page.route("**/session", lambda route: route.fulfill(json={"name": "operator", "role": "operator"}))
    page.reload()
    expect(page.locator(".who span").first).to_have_text("operator")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def keyboard_alone(page):
    """The same without a mouse: the platform that is paused goes on, and the hostile failure is read."""
    page.goto(BASE + "/")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(OPERATOR)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_focused()
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "Skip to the content")
    tab_to(page, "Platforms")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Platforms")).to_be_focused()
    tab_to(page, "Resume academy")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Let academy go on?")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Resume academy")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_text("academy is open now.")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Pause academy")).to_be_visible()
    page.goto(BASE + "/#/failures?platform=closed")
    expect(page.locator("table.jobs tbody tr")).to_have_count(2)
    tab_to(page, "Skip to the list")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Select all on this page")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    # Forwards from what is chosen to what is done with it; and past the list, where it is long.
    tab_to(page, "Select all on this page")
    tab_to(page, "To what can be done with the selected")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Select all that match")).to_be_focused()
    page.get_by_label("Select all on this page").focus()
    tab_to(page, "Select the grade of yan")
    page.keyboard.press("Space")
    expect(page.get_by_text("1 grade selected.")).to_be_visible()
    tab_to(page, "Replay 1 …")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Replay 1 grade?")).to_be_visible()
    page.keyboard.press("Enter")
    failed_again = page.get_by_role("dialog", name="Replayed 1 grade: flagged again")
    expect(failed_again).to_contain_text("flagged again: refused by the LMS (rejected)")
    closes_with_its_result(page, failed_again)
    expect(page.get_by_role("heading", name="Flagged grades that pass the filter")).to_be_focused()
    page.goto(BASE + "/#/failures?platform=closed&reason=token_refused")
    expect(page.locator("table.jobs tbody tr")).to_have_count(1)
    tab_to(page, re.escape("<img src=x onerror=alert(1)>"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Student <img src=x onerror=alert(1)> got 9 of 10")).to_be_focused()
    tab_to(page, "The event as it came")
    page.keyboard.press("Enter")
    event = page.locator("pre")
    expect(event).to_contain_text("<script>alert(2)</script>")
    expect(event).to_contain_text("sou…ole")
    assert "sourcedid-that-nobody" not in event.inner_text()
    assert page.locator("main img, main script").count() == 0


def viewer_may_look(page):
    """Nothing stands there that would be refused."""
    sign_in(page, VIEWER, "/#/failures?platform=closed")
    expect(page.locator("table.jobs tbody tr")).to_have_count(2)
    here = page.url
    page.locator("table.jobs tbody th a").first.click()
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    nothing_to_do(page)
    for place, seen in [("/", "Needs a person"), ("/failures", "Flagged grades"), ("/failures?state=queued", "Queued grades"), ("/platforms", "One success opens it"), ("/audit", "paused"), ("/bulk", "Bulk changes")]:
        page.goto(f"{BASE}/#{place}")
        expect(page.locator("main").get_by_text(seen).first).to_be_visible()
        nothing_to_do(page)
    page.goto(here)
    expect(page.locator("table.jobs tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_focused()
    assert not page.context.cookies()
    assert page.url.endswith("#/failures?platform=closed"), "the place stays"


def nothing_to_do(page):
    buttons = [button.text_content() for button in page.locator("main button").all()]
    assert all(text in ["Copy link", "Apply", "Skip to the list"] for text in buttons), buttons
    assert page.get_by_role("checkbox").count() == 0


def troubles_are_told(page):
    """A worker that is away, a session that has ended, a grade that is gone, a filter that is none."""
    sign_in(page, OPERATOR, "/#/failures?since=soon")
    expect(page.get_by_role("heading", name="This filter cannot be used")).to_be_visible()
    accessible(page, "bad-filter")
    page.get_by_role("link", name="Without the filters").click()
    expect(page.locator("table.jobs tbody tr").first).to_be_visible()
    page.goto(f"{BASE}/#{NOBODY}")
    expect(page.get_by_role("heading", name="It is not there")).to_be_visible()
    page.goto(BASE + "/#/platforms")
    expect(page.get_by_role("button", name="Check closed")).to_be_visible()
    page.evaluate("const real = fetch; window.fetch = (...all) => window.away ? Promise.reject(new TypeError('away')) : real(...all); window.away = true")
    ask_again(page)
    expect(page.get_by_role("alert").filter(has_text="No connection")).to_be_visible()
    expect(page.get_by_role("button", name="Check closed")).to_be_visible()
    everywhere(page, "away")
    page.evaluate("window.away = false")
    ask_again(page)
    expect(page.get_by_role("alert").filter(has_text="No connection")).to_have_count(0)
    page.context.clear_cookies()
    ask_again(page)
    expect(page.get_by_text("The session has ended.").first).to_be_visible()
    everywhere(page, "ended")
    page.get_by_label("Token").fill(OPERATOR)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Platforms")).to_be_visible()


SIZES = {"wide": {"width": 1280, "height": 860}, "phone": {"width": 360, "height": 800}}


def shoot(page, name, scheme, size):
    # A colour on its way from one theme to the other is neither; what is out of sight may never come to its end.
    page.evaluate("Promise.race([Promise.allSettled(document.getAnimations().map((each) => each.finished)), new Promise((done) => setTimeout(done, 1000))])")
    # A dialog stands before what can be seen, and not before the whole; what sticks to the bottom stands at its end.
    is_whole = page.locator("dialog").count() == 0
    page.evaluate("(at) => document.querySelectorAll('.actions').forEach((each) => { each.style.position = at; })", "static" if is_whole else "")
    page.screenshot(path=FOLDER / f"{name}-{scheme}-{size}.png", full_page=is_whole)
    page.evaluate("document.querySelectorAll('.actions').forEach((each) => each.removeAttribute('style'))")


BEFORE = [
    ("overview", "/", "Needs a person"), ("failures", "/failures", "Flagged grades"),
    ("filtered", "/failures?platform=campus&reason=rejected", "that pass the filter"),
    ("queued", "/failures?state=queued", "waits:"), ("nothing", "/failures?user_id=nobody", "No grade passes"),
    ("platforms", "/platforms", "One success opens it"), ("no-bulk", "/bulk", "Nobody has"),
    ("job-flagged", "/failures?platform=campus|", "Attempts"),
]
AFTER = [
    ("audit", "/audit", "replayed"), ("bulk", "/bulk", "queued again"), ("bulk-one", "/bulk|", "queued again"),
    ("job-delivered", "/failures?state=delivered|", "The LMS has it"),
]


VIEWERS = [
    ("viewer-overview", "/", "Needs a person"), ("viewer-failures", "/failures?platform=closed", "that pass the filter"),
    ("viewer-job", "/failures?platform=closed|", "Attempts"), ("viewer-platforms", "/platforms", "One success opens it"),
]


def everywhere(page, name):
    """What a walk has come to, in both themes and sizes; then it goes on as it was."""
    for size, viewport in reversed(SIZES.items()):
        page.set_viewport_size(viewport)
        fits(page, name, size)
        for scheme in ["dark", "light"]:
            page.emulate_media(color_scheme=scheme)
            shoot(page, name, scheme, size)
            # Where a view has been looked at, what is new in it is looked at in the size that has all of it.
            if size == "wide":
                accessible(page, f"{name}-{scheme}")
    page.set_viewport_size(SIZES["wide"])
    page.emulate_media(color_scheme="light")


def pictures(browser, views, token=OPERATOR):
    """Each view in both themes and at phone width; one whose place ends with | is behind the first link of the list."""
    for size, viewport in SIZES.items():
        context = browser.new_context(viewport=viewport, reduced_motion="reduce")
        watch(context)
        page = context.new_page()
        page.goto(BASE + "/")
        expect(page.get_by_label("Token")).to_be_focused()
        look(page, "sign-in", size)
        sign_in(page, token)
        for name, place, seen in views:
            page.goto(f"{BASE}/#{place.rstrip('|')}")
            if place.endswith("|"):
                page.locator("table.cards tbody th a").first.click()
            expect(page.locator("main").get_by_text(seen).first).to_be_visible()
            fits(page, name, size)
            look(page, name, size)
        context.close()


def look(page, name, size):
    for scheme in ["light", "dark"]:
        page.emulate_media(color_scheme=scheme)
        shoot(page, name, scheme, size)
        # Colours are the theme's and not the size's; what only a phone shows is looked at once.
        if size == "wide" or scheme == "light":
            accessible(page, f"{name}-{scheme}-{size}")


def accessible(page, name):
    """What axe finds; of a long list it looks at the first rows, because the others are made like them."""
    rows = {"exclude": [["table.jobs tbody tr:nth-child(n+5)"]]}
    for found in AXE.run(page, context=rows).response["violations"]:
        node = found["nodes"][0]
        wrong.append(f"{name}: {found['help']} ({found['id']}): {node['html'][:200]} {node['failureSummary']}")


def axe_finds_something(page):
    """Else its silence would mean nothing."""
    sign_in(page, VIEWER)
    expect(page.get_by_role("heading", name="Needs a person")).to_be_visible()
    page.evaluate("for (const e of document.querySelectorAll('h2')) e.style.color = '#ccc'; document.querySelector('main').append(document.createElement('input'))")
    before = len(wrong)
    accessible(page, "planted")
    found, wrong[before:] = wrong[before:], []
    assert any("color-contrast" in each for each in found) and any("(label)" in each for each in found), found


def fits(page, name, size):
    over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert over <= 0, f"{name} is {over} pixels too wide for {size}"


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        assert path, "there is no Chromium: run tests/run, which installs it"
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        pictures(browser, BEFORE)
        pictures(browser, VIEWERS, VIEWER)
        walks = [refused_sign_in, axe_finds_something, viewer_may_look, checks_a_platform, wrong_name, menu_on_a_phone, troubles_are_told, journey, keyboard_alone]
        for walk in walks:
            context = browser.new_context(viewport=SIZES["wide"], timezone_id="Asia/Kolkata")
            watch(context)
            page = context.new_page()
            try:
                walk(page)
            except BaseException:
                shoot(page, "where-it-failed", walk.__name__, "wide")
                raise
            context.close()
            print(f"{walk.__name__} was seen, {time.monotonic() - began:.0f} s", flush=True)
        pictures(browser, AFTER)
        browser.close()
    assert not wrong, "\n".join(dict.fromkeys(wrong))
    print("all seen")


main()
