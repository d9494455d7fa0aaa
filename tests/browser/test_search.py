"""La recherche répond à ce que tape un lecteur : la bonne page est parmi les trois premières."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

FINISHED = re.compile("echerche (?:est )?terminée|Search finished")
# What a reader types, and the page that answers.
FRENCH = [
    ("mon handler n'est jamais appelé", "guides/handler-non-appele"),
    ("handler pas appele", "guides/handler-non-appele"),
    ("handler dans le mauvais schéma", "guides/handler-non-appele"),
    ("comment tester", "guides/tester"),
    ("TestCase", "guides/tester"),
    ("tests pytest fixtures", "guides/tester"),
    ("email envoyé avant le commit", "explications/transactions"),
    ("on_commit", "explications/transactions"),
    ("broker en panne", "guides/ne-rien-perdre"),
    ("redis tombe, perdre des événements", "guides/ne-rien-perdre"),
    ("réessayer", "guides/reessayer-et-renoncer"),
    ("RetryAfter", "guides/reessayer-et-renoncer"),
    ("retry", "guides/reessayer-et-renoncer"),
    ("doublons", "guides/rendre-idempotent"),
    ("idempotence", "guides/rendre-idempotent"),
    ("renommer un événement", "guides/faire-evoluer-un-evenement"),
    ("ajouter un champ à un evenement", "guides/faire-evoluer-un-evenement"),
    ("renommer un champ", "guides/changer-la-forme-d-un-evenement"),
    ("champ obligatoire", "guides/changer-la-forme-d-un-evenement"),
    ("upcast", "guides/changer-la-forme-d-un-evenement"),
    ("publier plusieurs événements en lots", "guides/publier-en-lot"),
    ("multi tenant", "guides/multi-tenant"),
    ("django-tenants schéma", "guides/multi-tenant"),
    ("lancer le worker en production", "guides/deployer"),
    ("systemd", "guides/deployer"),
    ("journaux", "guides/observer"),
    ("vue async", "guides/publier-depuis-async"),
    ("publish_event", "modules/event_bus"),
    ("share_kernel.W001", "reference/verifications"),
    ("quelle base de données", "reference/bases-de-donnees"),
    ("mariadb", "reference/bases-de-donnees"),
    ("No event class is registered", "reference/erreurs"),
    ("PayloadError", "reference/erreurs"),
    ("MAX_DEPTH", "reference/reglages"),
    ("relancer les événements morts", "reference/commandes"),
    ("installer dans mon projet django", "guides/adopter-le-bus"),
    ("abonnements", "guides/s-abonner"),
    ("pourquoi un outbox plutôt qu'un appel direct", "explications/du-couplage-a-l-outbox"),
    ("savepoint", "explications/transactions"),
    ("exactement une fois", "explications/garanties"),
    ("purger les vieux événements", "reference/commandes"),
    ("pourquoi msgspec", "decisions/0001-msgspec"),
    ("signaux django", "guides/migrer-depuis-les-signaux"),
    ("post_save", "guides/migrer-depuis-les-signaux"),
    ("dispatch_uid", "guides/migrer-depuis-les-signaux"),
    ("différence avec les signaux", "explications/comparaison"),
    ("blinker", "explications/comparaison"),
    ("quel outil choisir", "explications/choisir"),
    ("faut-il copier un dossier", "explications/choisir"),
    ("créer un événement", "guides/declarer-un-evenement"),
    ("données personnelles rgpd", "explications/securite"),
    ("format json du message", "reference/format-des-messages"),
    ("est-ce rapide", "explications/performances"),
    ("publier un événement", "guides/declarer-un-evenement"),
    ("réagir à un événement dans une autre app", "guides/s-abonner"),
    ("import en masse", "guides/publier-en-lot"),
    ("1000 événements bulk_create", "guides/publier-en-lot"),
    ("rejouer un événement abandonné", "guides/reessayer-et-renoncer"),
    ("configurer celery", "guides/adopter-le-bus"),
    ("benchmark", "explications/performances"),
    ("admin", "guides/administrer"),
    ("administration", "guides/administrer"),
    ("livrer maintenant", "guides/administrer"),
    ("redis tombe", "explications/que-se-passe-t-il-quand"),
    ("worker tué", "explications/que-se-passe-t-il-quand"),
    ("runbook", "guides/a-trois-heures-du-matin"),
    ("astreinte", "guides/a-trois-heures-du-matin"),
    ("prometheus", "guides/surveiller"),
    ("sentry", "guides/surveiller"),
    ("cron", "guides/surveiller"),
    ("dataclass imbriquée", "guides/choisir-les-types"),
    ("TextChoices", "guides/choisir-les-types"),
    ("montant decimal ou float", "guides/choisir-les-types"),
    ("changelog", "journal"),
    ("quoi de neuf", "journal"),
]
ENGLISH = [
    ("my handler is never called", "guides/handler-non-appele"),
    ("handlers not running", "guides/handler-non-appele"),
    ("handler runs in the wrong schema", "guides/handler-non-appele"),
    ("how to test", "guides/tester"),
    ("TestCase", "guides/tester"),
    ("pytest fixture", "guides/tester"),
    ("email sent before commit", "explications/transactions"),
    ("on_commit", "explications/transactions"),
    ("broker is down", "guides/ne-rien-perdre"),
    ("lost events when redis crashes", "guides/ne-rien-perdre"),
    ("retries", "guides/reessayer-et-renoncer"),
    ("RetryAfter", "guides/reessayer-et-renoncer"),
    ("duplicate", "guides/rendre-idempotent"),
    ("idempotency", "guides/rendre-idempotent"),
    ("rename an event", "guides/faire-evoluer-un-evenement"),
    ("add a field to an event", "guides/faire-evoluer-un-evenement"),
    ("rename a field", "guides/changer-la-forme-d-un-evenement"),
    ("required field", "guides/changer-la-forme-d-un-evenement"),
    ("publish a batch of events", "guides/publier-en-lot"),
    ("bulk", "guides/publier-en-lot"),
    ("multi tenant", "guides/multi-tenant"),
    ("run the worker in production", "guides/deployer"),
    ("deployment", "guides/deployer"),
    ("logging", "guides/observer"),
    ("async view", "guides/publier-depuis-async"),
    ("publish_events", "modules/event_bus"),
    ("share_kernel.W001", "reference/verifications"),
    ("which database", "reference/bases-de-donnees"),
    ("MariaDB collation", "reference/bases-de-donnees"),
    ("cannot travel", "reference/erreurs"),
    ("SubscriptionError", "reference/erreurs"),
    ("MAX_DEPTH", "reference/reglages"),
    ("replay dead events", "reference/commandes"),
    ("install in an existing project", "guides/adopter-le-bus"),
    ("subscribe to events", "guides/s-abonner"),
    ("transactional outbox pattern", "explications/du-couplage-a-l-outbox"),
    ("deliver_pending", "modules/testing"),
    ("rollback", "explications/transactions"),
    ("exactly once", "explications/garanties"),
    ("dead letter queue", "guides/reessayer-et-renoncer"),
    ("unit test with mocks", "guides/tester"),
    ("migrate from signals", "guides/migrer-depuis-les-signaux"),
    ("dispatch_uid", "guides/migrer-depuis-les-signaux"),
    ("compared to django signals", "explications/comparaison"),
    ("blinker", "explications/comparaison"),
    ("which tool to choose", "explications/choisir"),
    ("is copying a folder worth it", "explications/choisir"),
    ("declare a new event", "guides/declarer-un-evenement"),
    ("security", "explications/securite"),
    ("message format", "reference/format-des-messages"),
    ("benchmarks", "explications/performances"),
    ("getting started", "guides/adopter-le-bus"),
    ("quick start", "guides/adopter-le-bus"),
    ("upgrade", "guides/adopter-le-bus"),
    ("handler skipped", "guides/handler-non-appele"),
    ("another language", "reference/format-des-messages"),
    ("retry policy", "guides/reessayer-et-renoncer"),
    ("right to be forgotten", "explications/securite"),
    ("admin", "guides/administrer"),
    ("worker killed", "explications/que-se-passe-t-il-quand"),
    ("database restart", "explications/que-se-passe-t-il-quand"),
    ("on-call runbook", "guides/a-trois-heures-du-matin"),
    ("prometheus", "guides/surveiller"),
    ("alerts", "guides/surveiller"),
    ("nested dataclass", "guides/choisir-les-types"),
    ("decimal or float", "guides/choisir-les-types"),
    ("release notes", "journal"),
]

QUESTIONS = [
    *(("fr", question, target) for question, target in FRENCH),
    *(("en", question, target) for question, target in ENGLISH),
]


@pytest.fixture(scope="module")
def search_pages(chromium: Browser, address: str) -> Iterator[dict[str, Page]]:
    """Une page de recherche par langue, dont on change la question."""
    context = chromium.new_context(base_url=address)
    pages = {language: context.new_page() for language in ("fr", "en")}
    for language, page in pages.items():
        page.goto(f"/{language}/search.html?q=x")
        page.wait_for_function("Search.hasIndex()")
    yield pages
    context.close()


def found(page: Page, question: str) -> list[str]:
    """Renvoie les pages trouvées, dans l’ordre où elles s’affichent."""
    return list(
        page.evaluate(
            "question => Search._performSearch(...Search._parseQuery(question))"
            ".reverse().map(([page]) => page)",
            question,
        )
    )


@pytest.mark.parametrize(("language", "question", "target"), QUESTIONS)
def test_the_answer_is_among_the_first_three(
    search_pages: dict[str, Page], language: str, question: str, target: str
) -> None:
    assert target in found(search_pages[language], question)[:3]


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("fr", "événement renommé", "evenement renomme"),
        ("fr", "délai", "délais"),
        ("fr", "transaction annulée", "transactions annulées"),
        ("en", "retry", "retries"),
        ("en", "a failing handler", "failing handlers"),
    ],
)
def test_accents_and_plurals_change_nothing(
    search_pages: dict[str, Page], language: str, one: str, other: str
) -> None:
    expected = found(search_pages[language], one)[:3]

    assert expected
    assert found(search_pages[language], other)[:3] == expected


@pytest.mark.parametrize(
    ("language", "question", "target"),
    [
        ("fr", "n'est pas appelé", "guides/handler-non-appele"),
        ("en", "not called", "guides/handler-non-appele"),
    ],
)
def test_a_reader_types_and_follows_the_first_answer(
    page: Page, language: str, question: str, target: str
) -> None:
    page.goto(f"/{language}/index.html")
    page.locator("input[name=q]").fill(question)
    page.keyboard.press("Enter")

    expect(page.locator("#search-results ul.search p.context").first).to_be_visible()
    page.locator("#search-results ul.search a").first.click()

    expect(page).to_have_url(re.compile(f"/{language}/{target}.html"))


LIT = "[...(CSS.highlights.get('searched') ?? [])].map((range) => range.toString().toLowerCase())"


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("idempotent", {"idempotent"}),
        ("événement", {"événement"}),
        ("on_commit (savepoint", {"on_commit", "savepoint"}),
    ],
)
def test_the_words_are_lit_where_the_search_led_until_escape(
    page: Page, question: str, words: set[str]
) -> None:
    page.goto(f"/fr/search.html?q={question}")
    expect(page.locator("#search-results")).to_contain_text(FINISHED)
    page.locator("#search-results ul.search a").first.click()
    page.wait_for_url(re.compile(r"^(?!.*search\.html)"))

    lit = set(page.evaluate(LIT))
    assert lit
    assert lit <= words
    page.keyboard.press("Escape")
    assert page.evaluate(LIT) == []
    page.reload()  # the next reading is not the answer to a question
    assert page.evaluate(LIT) == []


@pytest.mark.parametrize("language", ["fr", "en"])
def test_a_word_without_a_page_does_not_hide_the_others(
    search_pages: dict[str, Page], language: str
) -> None:
    assert found(search_pages[language], "zwxq idempotent")[0] == "guides/rendre-idempotent"


def test_an_excluded_word_excludes_its_pages(search_pages: dict[str, Page]) -> None:
    results = search_pages["en"].evaluate(
        "Search.performTermsSearch(new Set(['broker']), new Set(['rabbitmq'])).map(([p]) => p)"
    )

    assert results
    assert "guides/deployer" not in results


@pytest.mark.parametrize(
    ("language", "words", "sentence"),
    [
        ("fr", "publish_events", "appelez publish_events une fois"),
        ("fr", "dataclass gelée", "gelée"),
        ("en", "killed process", "process"),
    ],
)
def test_an_excerpt_is_a_sentence_that_holds_the_words(
    page: Page, language: str, words: str, sentence: str
) -> None:
    page.goto(f"/{language}/search.html?q={words}")
    expect(page.locator("#search-results")).to_contain_text(FINISHED)
    excerpts = page.locator("#search-results p.context")
    expect(excerpts.first).to_be_visible()

    told = excerpts.all_inner_texts()

    assert any(sentence in text for text in told), told
    assert [text for text in told if "import " in text] == []


def test_a_result_names_its_section(page: Page) -> None:
    page.goto("/fr/search.html?q=dataclass imbriquée")

    first = page.locator("#search-results ul.search > li").first

    expect(first.locator(".section")).to_have_text("Faire")


@pytest.mark.parametrize(
    ("language", "sentence", "section"),
    [("fr", "Aucune page ne répond", "Consulter"), ("en", "No page answers", "Reference")],
)
def test_a_search_that_finds_nothing_leads_elsewhere(
    page: Page, address: str, language: str, sentence: str, section: str
) -> None:
    page.goto(f"/{language}/search.html?q=zwxq")

    results = page.locator("#search-results")
    expect(results).to_contain_text(sentence)
    expect(results).not_to_contain_text(re.compile("catégories|categories"))
    results.get_by_role("link", name=section, exact=True).click()

    expect(page).to_have_url(f"{address}/{language}/reference/index.html")
