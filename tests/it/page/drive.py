"""Looks at the page as an admin does: drive.py BASE_URL SCREENSHOT_FOLDER. Ends with "all seen", or with what is wrong."""

import pathlib
import re
import shutil
import sys

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

BASE, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
OPERATOR, VIEWER = "operator-token-1", "viewer-token-1"
PATIENCE = 40_000
expect.set_options(timeout=PATIENCE)

AXE = Axe()
NOBODY = "/jobs/01JD8Y3K5V7Q2W9XZB4N6M8P0R"

# A browser notes each refused call: the first look for a session, and what these walks ask for on purpose.
KNOWN = [(401, ""), (404, f"/api/v1{NOBODY}"), (400, "/api/v1/jobs?"), (503, "/api/v1/replays/")]

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


def refused_sign_in(page):
    page.goto(BASE + "/")
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="Not signed in")).to_be_visible()
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
    expect(page.get_by_text("closed gives no token")).to_be_visible()
    page.locator(".needs").get_by_role("link", name=re.compile("60 grades failed")).click()
    expect(page).to_have_url(re.compile(r"#/failures\?platform=campus$"))
    expect(page.get_by_role("heading", name="Failures", exact=True)).to_be_focused()
    expect(page.locator(".group")).to_contain_text("60 refused by the LMS")
    page.get_by_role("link", name=re.compile("Show refused by the LMS at campus")).click()
    expect(page).to_have_url(re.compile("platform=campus&reason=rejected"))
    rows = page.locator("table.jobs tbody tr")
    expect(rows).to_have_count(50)
    survives_a_reload(page, rows)
    reads_one(page)
    replays_all(page)
    sees_what_became_of_it(page)


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
    expect(page.get_by_role("heading", name="Student student-007 got 8 of 10 for quiz.")).to_be_focused()
    expect(page.get_by_text("not enrolled").first).to_be_visible()
    expect(page.get_by_text("What to do:")).to_be_visible()
    told = page.locator(".timeline time").first
    exact, shown = told.get_attribute("datetime"), told.get_attribute("title")
    assert exact.endswith("Z") and exact in shown and "2:30" not in told.inner_text(), "the exact time stands there on hover"
    zone = page.evaluate("Intl.DateTimeFormat(undefined, {timeZoneName: 'long'}).formatToParts().find((p) => p.type === 'timeZoneName').value")
    assert zone == "India Standard Time" and "GMT+5:30" in shown, f"in the reader's zone: {shown}"
    page.get_by_role("button", name="Verify now").click()
    expect(page.locator("#read-back")).to_contain_text("The LMS has no grade here.")
    page.get_by_role("button", name=re.compile("^Replay")).click()
    dialog = page.get_by_role("dialog", name="Replay 1 job?")
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(dialog).to_contain_text("queued again")
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator(".verdict")).to_contain_text("Delivered")
    expect(page.locator(".timeline li")).to_have_count(2)


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
    shoot(page, "selected", "light", "wide")
    selected(page, "Replay").click()
    dialog = page.get_by_role("dialog", name="Replay 2 jobs?")
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(dialog.get_by_text("queued again")).to_have_count(2)
    shoot(page, "result-of-each", "light", "wide")
    dialog.get_by_role("button", name="Close").click()
    # A discard is asked for, and the first key does not carry it out.
    page.get_by_role("button", name="Select all that match").click()
    selected(page, "Discard").click()
    dialog = page.get_by_role("dialog", name="Discard 57 flagged jobs?")
    expect(dialog.get_by_label("Why?")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    # And all others that match, on both pages.
    selected(page, "Replay").click()
    dialog = page.get_by_role("dialog", name="Replay 57 flagged jobs?")
    dialog.get_by_label("Why?").fill("enrolled them")
    accessible(page, "confirm")
    shoot(page, "confirm", "light", "wide")
    # The worker starts anew in the middle of it: the page asks again.
    silences = [1, 2]
    of_one = re.compile(r"/api/v1/replays/[0-9A-Z]{26}$")
    page.route(of_one, lambda route: route.fulfill(status=503, json={"detail": "it starts"}) if silences and silences.pop() else route.continue_())
    dialog.get_by_role("button", name="Replay 57").click()
    expect(dialog).to_contain_text("57 queued again")
    assert not silences, "it was asked again"
    page.unroute(of_one)
    shoot(page, "bulk-result", "light", "wide")
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_text("No grade passes this filter.")).to_be_visible()
    # Two filters chosen faster than an answer comes: neither is lost.
    page.get_by_label("State").select_option("delivered")
    page.get_by_label("Reason").select_option("")
    expect(page.locator("table.jobs tbody tr")).to_have_count(50)
    expect(page.locator("table.jobs tbody").get_by_text("Delivered").first).to_be_visible()
    assert "state=delivered" in page.url and "reason" not in page.url, page.url


def sees_what_became_of_it(page):
    page.goto(BASE + "/#/audit")
    expect(page.locator("tbody tr").first).to_contain_text("enrolled them")
    page.get_by_role("link", name="Bulk changes").click()
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("57 queued again")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Replay of flagged grades at campus, refused by the LMS")).to_be_focused()
    expect(page.locator(".verdict")).to_contain_text("57 queued again")
    each = page.get_by_role("table", name="What became of each job").locator("tbody tr")
    expect(each.first).to_contain_text("queued again")
    expect(each.first).to_contain_text("Delivered")


def checks_a_platform(page):
    """What is wrong on the way to a platform is said step by step; a grade that waits says for what."""
    sign_in(page, OPERATOR, "/#/platforms")
    page.get_by_role("button", name="Check closed").click()
    check = page.get_by_role("group", name="Check of closed")
    expect(check).to_contain_text("1 step of 3 failed")
    expect(check).to_contain_text("HTTP 400")
    expect(check.locator(".advice")).to_be_visible()
    expect(page.locator("#spoken")).to_contain_text("closed: 1 step of 3 failed")
    page.get_by_role("button", name="Check academy").click()
    expect(page.get_by_role("group", name="Check of academy")).to_contain_text("All is well")
    closed = page.get_by_role("region", name="closed", exact=True)
    expect(closed).to_contain_text("refused")
    expect(closed).to_contain_text("0 of at most 16 at a time")
    for scheme in ["light", "dark"]:
        page.emulate_media(color_scheme=scheme)
        accessible(page, f"checked-{scheme}")
        shoot(page, "checked", scheme, "wide")
    page.goto(BASE + "/#/failures?state=queued&platform=night-school")
    expect(page.locator("table.jobs tbody tr").first).to_contain_text("waits: night-school is held")
    page.locator("table.jobs tbody th a").first.click()
    expect(page.locator(".waits")).to_contain_text("night-school is held")
    shoot(page, "job-held", "dark", "wide")


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
    page.goto(BASE + "/#/failures?platform=closed&reason=token_refused")
    expect(page.get_by_role("heading", name="Failures", exact=True)).to_be_focused()
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
    for place, seen in [("/", "Needs a person"), ("/failures", "Failed grades"), ("/failures?state=queued", "Queued grades"), ("/platforms", "One success opens it"), ("/audit", "paused"), ("/bulk", "Bulk changes")]:
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
    buttons = [button.inner_text() for button in page.locator("main button").all()]
    assert all(text in ["Copy link", "Apply"] for text in buttons), buttons
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
    expect(page.get_by_role("alert").filter(has_text="No connection")).to_be_visible()
    expect(page.get_by_role("button", name="Check closed")).to_be_visible()
    for scheme in ["light", "dark"]:
        page.emulate_media(color_scheme=scheme)
        accessible(page, f"away-{scheme}")
        shoot(page, "away", scheme, "wide")
    page.evaluate("window.away = false")
    expect(page.get_by_role("alert").filter(has_text="No connection")).to_have_count(0)
    page.context.clear_cookies()
    expect(page.get_by_text("The session has ended.").first).to_be_visible()
    shoot(page, "ended", "dark", "wide")
    page.get_by_label("Token").fill(OPERATOR)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Platforms")).to_be_visible()


SIZES = {"wide": {"width": 1280, "height": 860}, "phone": {"width": 390, "height": 800}}


def shoot(page, name, scheme, size):
    page.screenshot(path=FOLDER / f"{name}-{scheme}-{size}.png", full_page=True)


BEFORE = [
    ("overview", "/", "Needs a person"), ("failures", "/failures", "Failed grades"),
    ("filtered", "/failures?platform=campus&reason=rejected", "that pass the filter"),
    ("queued", "/failures?state=queued", "waits:"), ("nothing", "/failures?user_id=nobody", "No grade passes"),
    ("platforms", "/platforms", "One success opens it"), ("no-bulk", "/bulk", "Nobody has"),
    ("job-flagged", "/failures?platform=campus|", "Attempts"),
]
AFTER = [
    ("audit", "/audit", "replayed"), ("bulk", "/bulk", "queued again"), ("bulk-one", "/bulk|", "queued again"),
    ("job-delivered", "/failures?state=delivered|", "The LMS has it"),
]


def pictures(browser, views):
    """Each view in both themes and at phone width; one whose place ends with | is behind the first link of the list."""
    for size, viewport in SIZES.items():
        context = browser.new_context(viewport=viewport, reduced_motion="reduce")
        watch(context)
        page = context.new_page()
        page.goto(BASE + "/")
        expect(page.get_by_label("Token")).to_be_focused()
        look(page, "sign-in", size)
        sign_in(page, OPERATOR)
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
    # A colour on its way from one theme to the other is neither.
    page.evaluate("Promise.allSettled(document.getAnimations().map((each) => each.finished))")
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
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        assert path, "there is no Chromium: run tests/run, which installs it"
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        pictures(browser, BEFORE)
        walks = [refused_sign_in, axe_finds_something, viewer_may_look, checks_a_platform, troubles_are_told, journey, keyboard_alone]
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
            print(walk.__name__, "was seen", flush=True)
        pictures(browser, AFTER)
        browser.close()
    assert not wrong, "\n".join(dict.fromkeys(wrong))
    print("all seen")


main()
