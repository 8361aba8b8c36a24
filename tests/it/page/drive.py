"""Looks at the page as an admin does: drive.py BASE_URL SCREENSHOT_FOLDER. Ends with "all seen", or with what is wrong."""

import pathlib
import re
import shutil
import sys

from playwright.sync_api import expect, sync_playwright

BASE, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
OPERATOR, VIEWER = "operator-token-1", "viewer-token-1"
PATIENCE = 40_000
expect.set_options(timeout=PATIENCE)

KNOWN = [(401, "/session"), (404, "/api/v1/audit"), (404, "/api/v1/replays"), (404, "/api/v1/discard")]

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

    def console(message):
        # A browser notes each refused call; the first look for a session is one, and what a worker may lack another.
        if any(f"{status} (" in message.text and path in message.location["url"] for status, path in KNOWN):
            return
        if message.type == "error":
            wrong.append(f"in the console: {message.text}")

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
    """Tab until something of this name has the focus."""
    for _ in range(200):
        page.keyboard.press("Tab")
        focused = page.evaluate("(() => { const e = document.activeElement; return (e.getAttribute('aria-label') ?? e.textContent ?? '').trim() })()")
        if re.fullmatch(name, focused):
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
    expect(page.get_by_text("academy is paused")).to_be_visible()
    page.get_by_role("link", name=re.compile("60 grades failed")).click()
    expect(page).to_have_url(re.compile(r"#/failures\?platform=campus$"))
    expect(page.get_by_role("heading", name="Failures", exact=True)).to_be_focused()
    page.get_by_role("link", name=re.compile("Show refused by the LMS at campus")).click()
    expect(page).to_have_url(re.compile("platform=campus&reason=rejected"))
    rows = page.locator("table.jobs tbody tr")
    expect(rows).to_have_count(50)
    survives_a_reload(page, rows)
    reads_one(page)
    replays_all(page)


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
    assert page.locator("time").first.get_attribute("title"), "the exact time stands there on hover"
    page.get_by_role("button", name="Verify now").click()
    expect(page.locator("#read-back")).to_contain_text("The LMS has no grade here.")
    page.get_by_role("button", name=re.compile("^Replay")).click()
    dialog = page.get_by_role("dialog", name="Replay 1 job?")
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(dialog).to_contain_text("queued again")
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator(".verdict")).to_contain_text("Delivered")
    expect(page.locator(".timeline li")).to_have_count(2)


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
    page.get_by_role("group", name="What to do with the selected").get_by_role("button", name="Replay").click()
    dialog = page.get_by_role("dialog", name="Replay 2 jobs?")
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(dialog.get_by_text("queued again")).to_have_count(2)
    dialog.get_by_role("button", name="Close").click()
    # And all others that match, on both pages.
    page.get_by_role("button", name="Select all that match").click()
    page.get_by_role("group", name="What to do with the selected").get_by_role("button", name="Replay").click()
    dialog = page.get_by_role("dialog", name="Replay 57 flagged jobs?")
    shoot(page, "confirm", "light", "wide")
    dialog.get_by_role("button", name="Replay 57").click()
    expect(dialog).to_contain_text("57 queued again")
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_text("No grade passes this filter.")).to_be_visible()
    page.get_by_label("State").select_option("delivered")
    page.get_by_label("Reason").select_option("")
    expect(page.locator("table.jobs tbody tr")).to_have_count(50)
    expect(page.locator("table.jobs tbody").get_by_text("Delivered").first).to_be_visible()


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
    sign_in(page, VIEWER, "/#/failures?platform=closed")
    expect(page.locator("table.jobs tbody tr")).to_have_count(1)
    for name in ["Replay", "Discard", "Pause", "Verify"]:
        assert page.get_by_role("button", name=re.compile(name)).count() == 0, name
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_focused()
    assert not page.context.cookies()
    assert page.url.endswith("#/failures?platform=closed"), "the place stays"


SIZES = {"wide": {"width": 1280, "height": 860}, "phone": {"width": 375, "height": 760}}


def shoot(page, name, scheme, size):
    page.screenshot(path=FOLDER / f"{name}-{scheme}-{size}.png", full_page=True)


def pictures(browser):
    for scheme in ["light", "dark"]:
        for size, viewport in SIZES.items():
            context = browser.new_context(viewport=viewport, color_scheme=scheme)
            watch(context)
            page = context.new_page()
            page.goto(BASE + "/")
            expect(page.get_by_label("Token")).to_be_focused()
            shoot(page, "sign-in", scheme, size)
            sign_in(page, OPERATOR)
            for name, place, seen in [
                ("overview", "/", "Needs a person"), ("failures", "/failures", "Failed grades"),
                ("filtered", "/failures?platform=campus&reason=rejected", "that pass the filter"),
                ("platforms", "/platforms", "One success opens it"), ("audit", "/audit", "Audit"),
            ]:
                page.goto(f"{BASE}/#{place}")
                expect(page.locator("main").get_by_text(seen).first).to_be_visible()
                fits(page, name, size)
                shoot(page, name, scheme, size)
            page.goto(BASE + "/#/failures?platform=campus")
            page.locator("table.jobs tbody th a").first.click()
            expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
            fits(page, "job", size)
            shoot(page, "job", scheme, size)
            context.close()


def fits(page, name, size):
    over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert over <= 0, f"{name} is {over} pixels too wide for {size}"


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        assert path, "there is no Chromium: run tests/run, which installs it"
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        pictures(browser)
        for walk in [refused_sign_in, viewer_may_look, journey, keyboard_alone]:
            context = browser.new_context(viewport=SIZES["wide"])
            watch(context)
            page = context.new_page()
            try:
                walk(page)
            except BaseException:
                shoot(page, "where-it-failed", walk.__name__, "wide")
                raise
            context.close()
            print(walk.__name__, "was seen", flush=True)
        browser.close()
    assert not wrong, "\n".join(wrong)
    print("all seen")


main()
