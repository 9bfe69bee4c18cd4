//! Chromium without a window, used as a person does: what is on the page is found by its name, and pressed.

use std::process::Stdio;
use std::time::Duration;

use pushpost_testkit::processes::free_port;
use pushpost_testkit::wait;
use serde_json::{Value, json};
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities as _;
use thirtyfour::{DesiredCapabilities, Key, WebDriver, WebElement};
use tokio::process::{Child, Command};

/// Flags that Chromium needs for root in a container without `/dev/shm`.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--window-size=1280,900",
];
/// How often Tab is pressed at most until the focus is where it is wanted.
const TABS_MAX: usize = 200;

/// Keeps what the page must not do: break its policy, or leave an error uncaught.
const WATCH: &str = "
    window.faults = [];
    addEventListener('securitypolicyviolation', (event) => faults.push(`${event.violatedDirective} ${event.blockedURI}`));
    addEventListener('error', (event) => faults.push(event.message));
    addEventListener('unhandledrejection', (event) => faults.push(String(event.reason)));";

/// What can be pressed or filled in and has this name; in a dialog, if one is open.
const FIND: &str = "
    const inside = document.querySelector('dialog[open]') ?? document;
    const name = (element) => element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.textContent;
    const found = [...inside.querySelectorAll('a, button, input, select, summary')];
    return found.find((element) => name(element).trim() === arguments[0]) ?? null;";

/// With what the page is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hand {
    Mouse,
    Keyboard,
}

/// A browser with one page. End it with [`Self::quit`].
pub(super) struct Browser {
    hand: Hand,
    origin: String,
    driver: WebDriver,
    /// Ends with it.
    _chromedriver: Child,
}

impl Browser {
    /// Opens `/dashboard/` of the service at this address.
    pub(super) async fn open(hand: Hand, origin: &str) -> Self {
        let port = free_port();
        let chromedriver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is installed: scripts/ensure-chromium");
        let address = format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let status = format!("{address}/status");
        wait::until("chromedriver answers", async || http.get(&status).send().await.is_ok()).await;
        let mut wanted = DesiredCapabilities::chrome();
        for flag in FLAGS {
            wanted.add_arg(flag).unwrap();
        }
        let driver = WebDriver::new(&address, wanted).await.expect("Chromium starts");
        driver.set_script_timeout(Duration::from_secs(60)).await.unwrap();
        let browser = Self { hand, origin: origin.to_owned(), driver, _chromedriver: chromedriver };
        browser.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": WATCH})).await;
        browser.go("/dashboard/").await;
        browser
    }

    /// Opens a path of the service, as a link from elsewhere does.
    pub(super) async fn go(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.origin)).await.unwrap();
    }

    /// A command of the Chrome DevTools Protocol.
    pub(super) async fn command(&self, name: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(name, parameters).await.unwrap()
    }

    /// What a function body returns.
    pub(super) async fn ask(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.driver
            .execute(script, arguments)
            .await
            .unwrap_or_else(|error| panic!("{script}: {error}"))
            .json()
            .clone()
    }

    /// What a function body returns later, by its last argument.
    pub(super) async fn ask_later(&self, script: &str) -> Value {
        self.driver.execute_async(script, Vec::new()).await.unwrap().json().clone()
    }

    /// The visible text of what a selector finds; empty if it finds nothing.
    pub(super) async fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.innerText ?? ''";
        self.ask(script, vec![json!(selector)]).await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until what a selector finds has this text.
    pub(super) async fn until(&self, selector: &str, text: &str) {
        let begun = tokio::time::Instant::now();
        loop {
            let found = self.text(selector).await;
            if found.contains(text) {
                return;
            }
            if begun.elapsed() > wait::WAIT_MAX {
                panic!("{selector} does not say \"{text}\" but \"{found}\" on {}", self.text("body").await);
            }
            tokio::time::sleep(wait::POLL_INTERVAL).await;
        }
    }

    /// Waits for the title of a page, when the page has been loaded.
    pub(super) async fn until_page(&self, title: &str) {
        self.until("main:not([aria-busy]) h1", title).await;
    }

    /// Presses a link or a button.
    pub(super) async fn press(&self, name: &str) {
        let element = self.find(name).await;
        match self.hand {
            Hand::Mouse => element.click().await.unwrap(),
            Hand::Keyboard => {
                self.tab_to(&element, name).await;
                self.keys(Key::Enter).await;
            }
        }
    }

    /// Types into a field.
    pub(super) async fn fill(&self, name: &str, text: &str) {
        let element = self.find(name).await;
        match self.hand {
            Hand::Mouse => element.click().await.unwrap(),
            Hand::Keyboard => self.tab_to(&element, name).await,
        }
        self.keys(text).await;
    }

    async fn find(&self, name: &str) -> WebElement {
        wait::until_some(&format!("\"{name}\" on the page"), async || {
            self.driver.execute(FIND, vec![json!(name)]).await.ok()?.element().ok()
        })
        .await
    }

    async fn tab_to(&self, element: &WebElement, name: &str) {
        let has_focus = "return arguments[0] === document.activeElement";
        for _ in 0..TABS_MAX {
            if self.ask(has_focus, vec![element.to_json().unwrap()]).await == true {
                return;
            }
            self.keys(Key::Tab).await;
        }
        panic!("{TABS_MAX} times Tab did not lead to \"{name}\" on {}", self.text("body").await);
    }

    /// Waits until the element of this name has the focus.
    pub(super) async fn until_focused(&self, name: &str) {
        let focused = "return document.activeElement.ariaLabel ?? document.activeElement.textContent";
        wait::until(&format!("the focus is on \"{name}\""), async || {
            self.ask(focused, Vec::new()).await == json!(name)
        })
        .await;
    }

    async fn keys(&self, keys: impl Into<thirtyfour::TypingData>) {
        self.driver.action_chain().send_keys(keys.into()).perform().await.unwrap();
    }

    /// What the page has done that it must not do, since the document was loaded: faults, and requests to other hosts.
    pub(super) async fn faults(&self) -> Vec<Value> {
        let script = "
            const foreign = performance.getEntriesByType('resource').filter(({ name }) => !name.startsWith(`${location.origin}/`));
            return [...faults, ...foreign.map(({ name }) => name)];";
        self.ask(script, Vec::new()).await.as_array().unwrap().clone()
    }

    pub(super) async fn quit(self) {
        let faults = self.faults().await;
        assert!(faults.is_empty(), "{faults:?}");
        self.driver.quit().await.unwrap();
    }
}
