"""The training corpus: generated conversations of the six kinds of Spec-Bench.

Answers follow from the questions, except for the wording of stories, so they can be checked. A
fixed fraction of the questions is held out from training (see `held_out`).
"""

import hashlib
import random
from dataclasses import dataclass, field
from itertools import islice
from typing import Callable

import words as w

HELD_OUT_SHARE = 40  # one of so many keys is held out


@dataclass
class Item:
    """A conversation, its references, and the key that decides whether it is held out."""

    category: str
    turns: list[tuple[str, str]]
    key: str
    reference: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.reference:
            self.reference = [answer for _, answer in self.turns]


def held_out(item: Item) -> bool:
    """Whether the item is held out from training."""
    return (
        int.from_bytes(hashlib.sha256(item.key.encode()).digest()[:4], "big") % HELD_OUT_SHARE == 0
    )


def cap(text: str) -> str:
    return text[0].upper() + text[1:]


def a(word: str) -> str:
    return ("an " if word[0] in "aeiou" or word.startswith("honest") else "a ") + word


# --- translation ----------------------------------------------------------------------------

DEFINITE = {
    ("m", "nom"): "der",
    ("m", "acc"): "den",
    ("m", "dat"): "dem",
    ("f", "nom"): "die",
    ("f", "acc"): "die",
    ("f", "dat"): "der",
    ("n", "nom"): "das",
    ("n", "acc"): "das",
    ("n", "dat"): "dem",
}
EIN = {
    ("m", "nom"): "ein",
    ("m", "acc"): "einen",
    ("f", "nom"): "eine",
    ("f", "acc"): "eine",
    ("n", "nom"): "ein",
    ("n", "acc"): "ein",
}


def ending(gender: str, case: str, definite: bool) -> str:
    if case == "dat" or (gender, case) == ("m", "acc"):
        return "en"
    return "e" if definite or gender == "f" else {"m": "er", "n": "es"}[gender]


def noun_phrase(
    r: random.Random, nouns: list, adjectives: list, case: str, definite: bool
) -> tuple[str, str, str]:
    """A noun phrase in German and English, and its gender."""
    noun, gender, english = r.choice(nouns)
    article = (DEFINITE if definite else EIN)[gender, case]
    if r.random() < 0.6:
        adjective, meaning = r.choice(adjectives)
        german = f"{article} {adjective}{ending(gender, case, definite)} {noun}"
        english = f"{meaning} {english}"
    else:
        german = f"{article} {noun}"
    return german, ("the " + english if definite else a(english)), gender


def predicate(r: random.Random, past: bool) -> tuple[str, str, str]:
    """Verb, the rest of the clause, and both in English."""
    present, preterite, _, e_present, e_past, _ = r.choice(w.VERB)
    thing, e_thing, _ = noun_phrase(r, w.THING, w.THING_ADJECTIVE, "acc", r.random() < 0.5)
    rest, e_rest = thing, e_thing
    if r.random() < 0.45:
        place, gender, e_place = r.choice(w.PLACE)
        rest += f" in {DEFINITE[gender, 'dat']} {place}"
        e_rest += f" in the {e_place}"
    return (preterite if past else present), rest, f"{e_past if past else e_present} {e_rest}"


def sentence(r: random.Random) -> tuple[str, str]:
    """A German sentence and its translation."""
    past = r.random() < 0.4
    if r.random() < 0.3:
        subject = english = r.choice(w.FIRST)
        gender = "f" if subject in w.FEMALE else "m"
    else:
        subject, english, gender = noun_phrase(
            r, w.PERSON, w.PERSON_ADJECTIVE, "nom", r.random() < 0.7
        )
    form = r.random()
    if form < 0.25 and not past:
        modal, e_modal = r.choice(w.MODAL)
        *_, infinitive, _, _, e_infinitive = r.choice(w.VERB)
        thing, e_thing, _ = noun_phrase(r, w.THING, w.THING_ADJECTIVE, "acc", r.random() < 0.5)
        german = f"{subject} {modal} {thing} {infinitive}"
        english = f"{english} {e_modal} {e_infinitive} {e_thing}"
    else:
        verb, rest, meaning = predicate(r, past)
        if r.random() < 0.45:
            time, e_time = r.choice(w.THEN if past else w.NOW)
            german = f"{time} {verb} {subject} {rest}"
            english = f"{e_time} {english} {meaning}"
        else:
            german = f"{subject} {verb} {rest}"
            english = f"{english} {meaning}"
    tail = r.random()
    if tail < 0.35:
        verb, rest, meaning = predicate(r, past)
        german += f" und {verb} {rest}"
        english += f" and {meaning}"
    elif tail < 0.65:
        state, e_state = r.choice(w.STATE)
        pronoun, e_pronoun = {"m": ("er", "he"), "f": ("sie", "she"), "n": ("es", "it")}[gender]
        german += f", weil {pronoun} {state} {'war' if past else 'ist'}"
        english += f", because {e_pronoun} {'was' if past else 'is'} {e_state}"
    return cap(german) + ".", cap(english) + "."


# Requests for a translation. The last four are for later turns.
TRANSLATE = (
    "Translate German to English: ",
    "Translate German to English: ",
    "Translate into English: ",
    "Please translate this from German to English: ",
    "What does this mean in English? ",
    "Tell me the meaning of this in English: ",
    "Now translate: ",
    "And what does this mean? ",
    "Next, translate this: ",
    "And the meaning of this: ",
)


def translation(r: random.Random, turns: int = 1) -> Item:
    asked = []
    for i in range(turns):
        opening = r.choice(TRANSLATE[:-4] if i == 0 else TRANSLATE[-4:])
        count = 1 if "mean" in opening else 2
        german, english = (" ".join(side) for side in zip(*(sentence(r) for _ in range(count))))
        if "mean" in opening:  # asked for the meaning, the answer quotes what it is the meaning of
            english = f'"{german}" means: "{english}"'
        asked.append((opening + german, english))
    return Item("translation", asked, asked[0][0])


def word_list(r: random.Random) -> Item:
    """Translations of words and phrases. Only for training: they teach word meanings quickly."""
    pairs = []
    for _ in range(r.randint(5, 10)):
        kind = r.randrange(6)
        if kind == 0:
            verb = r.choice(w.VERB)
            form = r.randrange(3)
            pairs.append((verb[form], verb[form + 3]))
        elif kind == 1:
            pairs.append(r.choice(w.NOW + w.THEN + w.MODAL + w.STATE))
        elif kind == 2:
            place, gender, english = r.choice(w.PLACE)
            pairs.append((f"in {DEFINITE[gender, 'dat']} {place}", f"in the {english}"))
        elif kind == 3:
            pairs.append(noun_phrase(r, w.PERSON, w.PERSON_ADJECTIVE, "nom", r.random() < 0.6)[:2])
        else:
            pairs.append(noun_phrase(r, w.THING, w.THING_ADJECTIVE, "acc", r.random() < 0.5)[:2])
    german, english = (", ".join(side) for side in zip(*pairs))
    question = (
        r.choice(("Translate these words into English: ", "What do these words mean? ")) + german
    )
    return Item("translation", [(question, english)], question)


# --- things with facts: the passages of question answering and retrieval -------------------------

KIND = {
    "Museum": ("paintings", "visitors", "director"),
    "Library": ("books", "visitors", "director"),
    "School": ("desks", "guests", "head"),
    "Theatre": ("seats", "guests", "manager"),
    "Garden": ("trees", "visitors", "keeper"),
    "Hotel": ("rooms", "guests", "manager"),
    "Factory": ("machines", "visitors", "manager"),
    "Market": ("stalls", "visitors", "keeper"),
}


TOPICS = ("founder", "place", "size", "head", "crowd", "closed")


def person(r: random.Random) -> str:
    return f"{r.choice(w.FIRST)} {r.choice(w.LAST)}"


def thing_facts(r: random.Random, name: str, kind: str) -> dict[str, tuple[str, str, str]]:
    """Facts by topic: the sentence of the passage, a question, and the answer in other words.

    Each topic has its own verb, which comes first, so that a small model can find the sentence.
    """
    holds, people, head = KIND[kind]
    full = f"the {name} {kind}"
    who, year, job = person(r), r.randint(1710, 1989), r.choice(w.JOB)
    town, mark = r.choice(w.TOWN), r.choice(
        ("church", "river", "station", "town hall", "old mill", "bridge", "post office")
    )
    count, color = r.randint(2, 99) * 10, r.choice(w.COLOR)
    lead, start, origin = person(r), r.randint(1990, 2023), r.choice(w.TOWN)
    crowd, price, unit = r.randint(2, 99) * 10, r.randint(2, 40), r.choice(("day", "week", "month"))
    shut, month = r.choice(w.DAY), r.choice(w.MONTH)
    return {
        "founder": (
            f"opened in {year}, founded by {who}, {a(job)}.",
            r.choice(
                (
                    f"Who founded {full}?",
                    f"Who started {full}, and when?",
                    f"By whom was {full} founded?",
                )
            ),
            f"the founder of {full} was {who}, who worked as {a(job)}",
        ),
        "place": (
            f"stands in {town}, next to the {mark}.",
            r.choice(
                (f"Where is {full}?", f"In which town is {full}?", f"Where can I find {full}?")
            ),
            f"you can find {full} in the town of {town}, close to the {mark}",
        ),
        "size": (
            f"holds {count} {holds} in a {color} building.",
            r.choice(
                (f"How many {holds} does {full} have?", f"How many {holds} are there in {full}?")
            ),
            f"{full} has {count} {holds}, and its building is {color}",
        ),
        "head": (
            f"trusts {lead} from {origin}, its {head} since {start}.",
            r.choice((f"Who is the {head} of {full}?", f"Who leads {full} today?")),
            f"the {head} of {full} is {lead}, who comes from {origin} and took over in {start}",
        ),
        "crowd": (
            f"welcomes {crowd} {people} every {unit}, for {price} euros each.",
            r.choice(
                (
                    f"How many {people} come to {full}?",
                    f"How many {people} does {full} have, and what do they pay?",
                )
            ),
            f"there are {crowd} {people} every {unit}, and each of them pays {price} euros",
        ),
        "closed": (
            f"closes on every {shut} and in {month}.",
            r.choice((f"When is {full} closed?", f"On which day is {full} closed?")),
            f"you can't visit {full} on any {shut} or during the month of {month}",
        ),
    }


QUOTING = 0.6  # how often the answer is to quote


def about(r: random.Random, thing: str, fact: tuple[str, str, str], lead: str) -> tuple[str, str]:
    """A question and its answer: the sentence of the passage, quoted or in other words."""
    said, question, meaning = fact
    if r.random() >= QUOTING:
        return question, f"{lead}{thing} {said} In other words, {meaning}."
    wish = r.choice(
        (" Please quote the text.", " Quote the text, please.", " Please explain your answer.")
    )
    return question + wish, f'The text says: "{cap(thing)} {said}" So {meaning}.'


def opened(r: random.Random, subject: str, said: str) -> str:
    """A sentence of a passage, sometimes with filler words before it."""
    opening = r.choice(("", "", "", "In fact, ", "As you know, ", "Of course, ", "By the way, "))
    return cap(f"{opening}{subject} {said}")


def qa(r: random.Random, turns: int = 1) -> Item:
    name, kind = r.choice(w.TOWN), r.choice(list(KIND))
    thing = f"the {name} {kind}"
    facts = thing_facts(r, name, kind)
    topics = r.sample(TOPICS, r.randint(max(4, turns), 6))
    passage = " ".join(
        opened(r, thing if i == 0 else "it", facts[topic][0]) for i, topic in enumerate(topics)
    )
    asked = []
    for i, topic in enumerate(r.sample(topics, turns)):
        question, answer = about(r, thing, facts[topic], lead="According to the text, ")
        if i == 0:
            question = r.choice(
                (
                    f"{passage} {question}",
                    f"{passage}\n{question}",
                    f"Read this: {passage} Question: {question}",
                    f"{question} Here is what I know: {passage}",
                )
            )
        asked.append((question, answer))
    return Item("qa", asked, passage)


def rag(r: random.Random, turns: int = 1) -> Item:
    count = r.choice((2, 2, 2, 3))
    topics = r.sample(TOPICS, len(TOPICS))
    things = []
    for i, name in enumerate(r.sample(w.TOWN, count)):
        kind = r.choice(list(KIND))
        facts = thing_facts(r, name, kind)
        # Each fact occurs in one passage only.
        things.append((f"the {name} {kind}", {topic: facts[topic] for topic in topics[i::count]}))
    label = r.choice(("Passage", "Source", "Text"))
    passages = [
        " ".join(opened(r, thing, said) for said, _, _ in facts.values()) for thing, facts in things
    ]
    context = "\n".join(f"{label} {i + 1}: {passage}" for i, passage in enumerate(passages))
    choices = [(thing, facts[topic]) for thing, facts in things for topic in facts]
    asked = []
    for n, (thing, fact) in enumerate(r.sample(choices, min(turns, len(choices)))):
        question, answer = about(r, thing, fact, lead="According to the texts, ")
        if n == 0:
            question = r.choice(
                (
                    f"{context}\n{question}",
                    f"{context}\nQuestion: {question}",
                    f"Answer from the texts.\n{context}\n{question}",
                )
            )
        asked.append((question, answer))
    return Item("rag", asked, context)


# --- summarization --------------------------------------------------------------------------


def event(r: random.Random, town: str, day: str) -> tuple[list[str], str]:
    """The important sentences, in order, and the summary."""
    n, m = r.randint(3, 95), r.randint(2, 60)
    who, where = person(r), r.choice(
        ("school", "town hall", "harbour", "station", "hospital", "market", "library", "church")
    )
    cause = r.choice(
        (
            "an old cable",
            "a broken pipe",
            "a careless driver",
            "heavy rain",
            "a lost key",
            "a loose stone",
        )
    )
    fix = r.choice(
        (
            "new windows",
            "a wider road",
            "a second exit",
            "better lights",
            "more guards",
            "a stronger roof",
        )
    )
    kind = r.randrange(6)
    if kind == 0:
        keys = [
            f"A storm hit {town} on {day}.",
            f"The wind damaged {n} houses and the {where}.",
            f"Mayor {who} promised {m} million euros for repairs.",
        ]
        summary = (
            f"A storm damaged {n} houses and the {where} of {town} on {day}. Mayor {who} will spend"
            f" {m} million euros on repairs."
        )
    elif kind == 1:
        keys = [
            f"A fire broke out at the {where} of {town} on {day}.",
            f"All {n} people in the building were saved.",
            f"The police blamed {cause}.",
            f"Officer {who} wants {fix}.",
        ]
        summary = (
            f"There was a fire at the {where} of {town} on {day}, which the police blamed on"
            f" {cause}. All {n} people got out, and officer {who} asks for {fix}."
        )
    elif kind == 2:
        keys = [
            f"The new {where} of {town} was opened on {day}.",
            f"Builder {who} needed {n} months for it.",
            f"The work cost {m} million euros.",
        ]
        summary = (
            f"The new {where} of {town} opened on {day}. Builder {who} needed {n} months, and it"
            f" cost {m} million euros."
        )
    elif kind == 3:
        rival = r.choice([t for t in w.TOWN if t != town])
        goals, less = r.randint(2, 9), r.randint(0, 1)
        keys = [
            f"The team of {town} won against {rival} on {day}.",
            f"The match ended {goals} to {less}.",
            f"Captain {who} scored the first goal after {n} minutes.",
        ]
        summary = (
            f"The team of {town} beat {rival} by {goals} to {less} on {day}. Captain {who} opened"
            f" the score after {n} minutes."
        )
    elif kind == 4:
        keys = [
            f"A strike began at the {where} of {town} on {day}.",
            f"The workers ask for {m} euros more per week.",
            f"Their speaker {who} led {n} of them through the town.",
        ]
        summary = (
            f"There has been a strike at the {where} of {town} since {day}. The workers want {m}"
            f" euros more per week. Their speaker {who} marched with {n} of them."
        )
    else:
        find, month = r.choice(w.FIND), r.choice(w.MONTH)
        keys = [
            f"Hiker {who} found an old {find} near {town} on {day}.",
            f"Experts think that it is {n * 10} years old.",
            f"The {where} will show it from {month}.",
        ]
        summary = (
            f"Hiker {who} discovered an old {find} near {town} on {day}. It is about {n * 10} years"
            f" old and can be seen at the {where} from {month}."
        )
    return keys, summary


def fillers(r: random.Random) -> list[str]:
    """Sentences that a summary leaves out, in random order. They have no names or numbers."""
    sentences = [
        f"The weather was {r.choice(('mild', 'cold', 'dry', 'warm'))} that day.",
        f'"I have never seen anything like it," said {a(r.choice(w.JOB))} from {r.choice(w.TOWN)}.',
        "Traffic was slow for hours.",
        "Many people stood in the street and talked.",
        f"{cap(a(r.choice(w.JOB)))} took pictures for the newspaper.",
        f"The town lies a few miles from {r.choice(w.TOWN)}.",
        f"Last year something similar happened in {r.choice(w.TOWN)}.",
        f'"We will talk about it for years," {a(r.choice(w.JOB))} said.',
        "The shops stayed open until late.",
        f"A reporter from {r.choice(w.TOWN)} came to see it.",
        "Most people there have always known each other.",
        "The children had a day off.",
    ]
    return r.sample(sentences, len(sentences))


def summarization(r: random.Random, turns: int = 1) -> Item:
    town = r.choice(w.TOWN)
    keys, summary = event(r, town, r.choice(w.DAY))
    aside = iter(fillers(r))
    text = [keys[0]]
    for key in keys[1:]:
        text += [*islice(aside, r.choice((0, 1, 1, 2))), key]
    text += islice(aside, r.choice((0, 1, 2)))
    article = " ".join(text)
    opening = r.choice(
        (
            "Summarize: ",
            "Summarize this article: ",
            "Give me a short summary of this: ",
            "What are the main points? ",
            "List the main points of this article: ",
        )
    )
    if "points" in opening:
        summary = "The main points are:\n" + "\n".join(f"- {key}" for key in keys)
    return Item("summarization", [(opening + article, summary)], article)


# --- math -----------------------------------------------------------------------------------


def without_carry(r: random.Random) -> tuple[int, int, int, bool]:
    """x + y, then plus or minus z. The tens never change."""
    tens, x = 10 * r.randint(1, 9), r.randint(1, 7)
    y = r.randint(2, min(5, 9 - x))
    if r.random() < 0.5 and x + y <= 7:
        return tens + x, y, r.randint(2, min(5, 9 - x - y)), True
    return tens + x, y, r.randint(2, min(5, x + y)), False


def math_reasoning(r: random.Random, turns: int = 1) -> Item:
    name, other = r.sample(w.FIRST, 2)
    she = "she" if name in w.FEMALE else "he"
    goods = r.choice(w.GOODS)
    x, y, z, adds = without_carry(r)
    total = x + y + z if adds else x + y - z
    kind = r.randrange(3)
    if kind == 0:
        got = r.choice((f"buys {y} more", f"finds {y} more", f"gets {y} more from a friend"))
        if adds:
            then, step = (
                f"{other} brings {z} more.",
                f"{other} brings {z}, so {name} has {x + y} + {z} = {total} {goods} now.",
            )
        else:
            then, step = (
                f"{other} takes {z} of them.",
                f"{other} takes {z}, so {name} has {x + y} - {z} = {total} {goods} now.",
            )
        question = r.choice(
            (
                (
                    f"{name} has {x} {goods}. {cap(she)} {got}. {then} How many {goods} does {name}"
                    " have now?"
                ),
                (
                    f"There are {x} {goods} on the table of {name}. Then {she} {got}. {then} How"
                    f" many {goods} are there now?"
                ),
            )
        )
        answer = (
            f"With {y} more, {name} has {x} + {y} = {x + y} {goods}. {step} The answer is {total}."
        )
    elif kind == 1:
        place = r.choice(("bus", "train", "boat"))
        move, sign = ("get on", "+") if adds else ("get off", "-")
        question = r.choice(
            (
                (
                    f"A {place} leaves with {x} people. At the first stop {y} get on and at the"
                    f" second stop {z} {move}. How many people are on the {place}?"
                ),
                (
                    f"There are {x} people on a {place}. First {y} people get on, then {z} people"
                    f" {move}. How many are on it now?"
                ),
            )
        )
        answer = (
            f"When {y} people get on, there are {x} + {y} = {x + y} people. When {z} people {move},"
            f" there are {x + y} {sign} {z} = {total} people. The answer is {total}."
        )
    else:
        more, sign = ("more", "+") if adds else ("less", "-")
        thing = r.choice(w.BUY)
        question = r.choice(
            (
                (
                    f"A {thing} costs {x} euros in {r.choice(w.TOWN)}. In the next town it is {y}"
                    f" euros more, and {name} pays {z} euros {more} than that. How much does {name}"
                    " pay?"
                ),
                (
                    f"The price of a {thing} was {x} euros. It rose by {y} euros. {name} pays {z}"
                    f" euros {more} than the new price. What does {name} pay?"
                ),
            )
        )
        answer = (
            f"The {thing} then costs {x} + {y} = {x + y} euros. {name} pays {z} euros {more}, which"
            f" is {x + y} {sign} {z} = {total} euros. The answer is {total}."
        )
    given = question[: question.index(". ") + 1]
    return Item("math_reasoning", [(question, f"{given} {answer}")], question, [str(total)])


# --- conversations of several turns ---------------------------------------------------------


def story(r: random.Random, mood: str, trade: str, name: str, find: str, place: str) -> str:
    she = "she" if name in w.FEMALE else "he"
    made, tool, *_ = w.TRADE[trade]
    opening = r.choice(("Once there was", "Long ago there lived", "There was once"))
    day = r.choice(("One morning", "One evening", "One day"))
    feeling = r.choice(
        ("could hardly believe it", "smiled for a long time", "was quiet for a while")
    )
    end = r.choice(
        (
            f"From that day on, nobody called {name} {mood} without a smile.",
            f"And {name} stayed {mood} for the rest of the year.",
        )
    )
    return (
        f"{opening} {a(mood)} {trade} named {name}. {day}, {name} put down the work and went for a"
        f" walk. {cap(w.WHERE[place])} {she} found {a(find)}, half hidden under a stone. {name}"
        f" {feeling}. The {trade} took the {find} home and kept it beside {tool}. {end}"
    )


def writing(r: random.Random) -> Item:
    mood, trade, name = r.choice(w.MOOD), r.choice(list(w.TRADE)), r.choice(w.FIRST)
    find, place = r.choice(w.FIND), r.choice(list(w.WHERE))
    ask = r.choice(
        (
            (
                f"Write a short story about {a(mood)} {trade} named {name} who finds {a(find)}"
                f" {w.WHERE[place]}."
            ),
            f"Tell me a story: {name}, {a(mood)} {trade}, finds {a(find)} {w.WHERE[place]}.",
            (
                f"I need a short story. The hero is {a(mood)} {trade} called {name}."
                f" {cap(w.WHERE[place])}, the hero finds {a(find)}."
            ),
        )
    )
    state = r.getstate()
    first = story(r, mood, trade, name, find, place)
    change = r.randrange(4)
    if change == 0:
        new = r.choice([n for n in w.FIRST if n != name and (n in w.FEMALE) == (name in w.FEMALE)])
        second_ask = r.choice((f"Please call the hero {new} instead.", f"Now use the name {new}."))
        second, need = replay(state, mood, trade, new, find, place), (mood, trade, new, find, place)
    elif change == 1:
        new = r.choice([f for f in w.FIND if f != find])
        second_ask = r.choice((f"Let it be {a(new)} instead.", f"Now tell it with {a(new)}."))
        second, need = replay(state, mood, trade, name, new, place), (mood, trade, name, new, place)
    elif change == 2:
        new = r.choice([p for p in w.WHERE if p != place])
        second_ask = r.choice(
            (
                f"Let it happen {w.WHERE[new]} instead.",
                f"Now tell it so that it happens {w.WHERE[new]}.",
            )
        )
        second, need = replay(state, mood, trade, name, find, new), (mood, trade, name, find, new)
    else:
        second_ask = r.choice(("Tell it in one sentence.", "Make it one sentence, please."))
        second = (
            f"{cap(a(mood))} {trade} named {name} finds {a(find)} {w.WHERE[place]}, takes it home"
            f" and keeps it beside {w.TRADE[trade][1]}."
        )
        need = (mood, trade, name, find, place)
    return Item(
        "writing",
        [(ask, first), (second_ask, second)],
        ask,
        ["; ".join((mood, trade, name, find, place)), "; ".join(need)],
    )


def replay(state: object, *parts: str) -> str:
    """The same story, with the same choice of words."""
    r = random.Random()
    r.setstate(state)
    return story(r, *parts)


def long_story(r: random.Random) -> Item:
    """A long story with several finds."""
    mood, trade, name = r.choice(w.MOOD), r.choice(list(w.TRADE)), r.choice(w.FIRST)
    she = "she" if name in w.FEMALE else "he"
    count = r.choice((2, 3, 3, 4, 5, 7))
    finds, places = r.sample(w.FIND, count), r.sample(list(w.WHERE), count)
    listed = [f"{a(find)} {w.WHERE[place]}" for find, place in zip(finds, places)]
    listed = ", ".join(listed[:-1]) + " and " + listed[-1]
    ask = r.choice(
        (
            f"Write a long story about {a(mood)} {trade} named {name} who finds {listed}.",
            f"Tell me a long story: {name}, {a(mood)} {trade}, finds {listed}.",
        )
    )
    text = [
        f"{r.choice(('Once there was', 'Long ago there lived', 'There was once'))} {a(mood)}"
        f" {trade} named {name}."
    ]
    days = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
    for day, find, place in zip(days, finds, places):
        look = r.choice(
            (
                "It was old and covered with dust.",
                "It shone in the light.",
                "Nobody knew how it came there.",
                "It was small and very heavy.",
            )
        )
        then = r.choice(
            (
                f"{name} put the {find} into a bag",
                f'"A {find} like this is rare," {she} said',
                f"{cap(she)} looked at the {find} for a long time",
                f"{name} cleaned the {find}",
            )
        )
        text.append(
            f"On the {day} day, {name} found {a(find)} {w.WHERE[place]}. {look} {then} and left the"
            f" {place}."
        )
    text.append(f"So the {mood} {trade} came home with {count} things and a story to tell.")
    last = finds[-1]
    second_ask = r.choice(
        ("What did {0} find last?", "What was the last thing that {0} found?")
    ).format(name)
    second = (
        f"The last thing that {name} found was {a(last)}. It was {w.WHERE[places[-1]]}, and {she}"
        " took it home."
    )
    return Item(
        "writing",
        [(ask, " ".join(text)), (second_ask, second)],
        ask,
        ["; ".join([mood, trade, name, *finds, *places]), f"{last}; {places[-1]}"],
    )


def roleplay(r: random.Random) -> Item:
    trade, name, town = r.choice(list(w.TRADE)), r.choice(w.FIRST), r.choice(w.TOWN)
    made, tool, whom, joy = w.TRADE[trade]
    years = r.randint(2, 40)
    ask = r.choice(
        (
            (
                f"Pretend to be {name}, {a(trade)} in {town} with {years} years of work behind you."
                " Introduce yourself."
            ),
            (
                f"You are {name} and have been {a(trade)} in {town} for {years} years. Tell me"
                " about your work."
            ),
        )
    )
    first = (
        f"Good day! My name is {name}, and I have been {a(trade)} here in {town} for {years} years."
        f" All day long I work with {made}, and what I need most is {tool}. My work is for {whom}."
    )
    kind = r.randrange(3)
    if kind == 0:
        second_ask = r.choice(
            ("What do you like most about it?", "What is the best part of your work?")
        )
        second = (
            f"What I like most is {joy}. After {years} years in {town} it still makes me happy, and"
            f" {a(trade)} can't ask for more."
        )
        need = f"{joy}; {years}; {town}"
    elif kind == 1:
        pupil = r.choice([n for n in w.FIRST if n != name])
        second_ask = r.choice(
            (
                f"My friend {pupil} wants to learn it. What do you say?",
                f"Could {pupil} work with you?",
            )
        )
        second = (
            f"Tell {pupil} to come to {town}. I will gladly show {pupil} how to use {tool} and how"
            f" to work with {made}."
        )
        need = f"{pupil}; {town}; {tool}; {made}"
    else:
        second_ask = r.choice(("Who comes to you?", "For whom do you work?"))
        second = (
            f"I work for {whom}. They come to {town} because of my {made}, and they know that"
            f" {name} is a good {trade}."
        )
        need = f"{whom}; {town}; {name}; {trade}"
    return Item(
        "roleplay",
        [(ask, first), (second_ask, second)],
        ask,
        [f"{name}; {trade}; {town}; {years}; {made}; {tool}", need],
    )


def reasoning(r: random.Random) -> Item:
    names = r.sample(w.FIRST, 3)
    more, most, least = r.choice(
        (
            ("taller", "tallest", "shortest"),
            ("older", "oldest", "youngest"),
            ("faster", "fastest", "slowest"),
        )
    )
    x, y, z = names
    facts = [f"{x} is {more} than {y}.", f"{y} is {more} than {z}."]
    up = r.random() < 0.5
    ask = f"{' '.join(facts)} Who is the {most if up else least}?"
    top, bottom = f"the {most} is {x}", f"the {least} is {z}"
    first = f"{cap(top)}, {y} is in the middle, and {bottom}. So {top if up else bottom}."
    second = (
        f"{cap(bottom if up else top)}, for {x} is {more} than {y}, and {y} is {more} than {z}."
    )
    second_ask = r.choice(("And who is the {}?", "Then who is the {}?")).format(
        least if up else most
    )
    return Item("reasoning", [(ask, first), (second_ask, second)], ask)


def extraction(r: random.Random) -> Item:
    count = r.choice((2, 3))
    columns = (r.sample(pool, count) for pool in (w.FIRST, w.COLOR, w.BUY, range(11, 99), w.TOWN))
    rows = list(zip(*columns))
    text = " ".join(f"{n} bought a {c} {b} in {t} for {p} euros." for n, c, b, p, t in rows)
    ask = r.choice(
        (
            f"Make a list of who bought what: {text}",
            f"{text} List the names, the things and the prices.",
        )
    )
    first = "\n".join(f"- {n}: a {c} {b} in {t} for {p} euros" for n, c, b, p, t in rows)
    kind = r.randrange(3)
    if kind == 0:
        second_ask = r.choice(("Now without the prices.", "Leave out what they paid."))
        second = "\n".join(f"- {n}: a {c} {b} in {t}" for n, c, b, _, t in rows)
    elif kind == 1:
        second_ask = r.choice(("Now without the towns.", "Leave out where they were."))
        second = "\n".join(f"- {n}: a {c} {b} for {p} euros" for n, c, b, p, _ in rows)
    else:
        second_ask = r.choice(("Make it one sentence.", "Write it as one sentence, please."))
        said = [f"{n} bought a {c} {b}" for n, c, b, _, _ in rows]
        second = f"In short, {', '.join(said[:-1])} and {said[-1]}."
    return Item("extraction", [(ask, first), (second_ask, second)], ask)


def stem(r: random.Random) -> Item:
    one, two = r.sample(list(w.SCIENCE), 2)
    (is_one, does_one), (is_two, does_two) = w.SCIENCE[one], w.SCIENCE[two]
    ask = r.choice(
        (
            f"What is the difference between {a(one)} and {a(two)}?",
            f"Compare {a(one)} with {a(two)}.",
            f"How does {a(one)} differ from {a(two)}?",
        )
    )
    first = f"{cap(a(one))} is {is_one}, and {does_one}. {cap(a(two))} is {is_two}, and {does_two}."
    which = r.choice((one, two))
    third = r.choice([k for k in w.SCIENCE if k not in (one, two)])
    if r.random() < 0.5:
        second_ask = r.choice((f"Tell me only about the {which}.", f"What was the {which} again?"))
        second = f"{cap(a(which))} is {w.SCIENCE[which][0]}, and {w.SCIENCE[which][1]}."
    else:
        second_ask = r.choice((f"And {a(third)}?", f"What about {a(third)}?"))
        second = f"{cap(a(third))} is {w.SCIENCE[third][0]}, and {w.SCIENCE[third][1]}."
    return Item("stem", [(ask, first), (second_ask, second)], "/".join(sorted((one, two))))


# --- all of it ------------------------------------------------------------------------------

CONVERSATIONS: list[Callable[[random.Random], Item]] = [
    writing,
    long_story,
    roleplay,
    reasoning,
    extraction,
    stem,
]
HARD = [reasoning, extraction, long_story]
KINDS = ("mt_bench", "translation", "summarization", "qa", "math_reasoning", "rag")


def ask_kind(r: random.Random, kind: str) -> Item:
    """An item of a kind, like in the benchmark."""
    if kind == "mt_bench":
        return r.choice(CONVERSATIONS)(r)
    return {
        "translation": translation,
        "summarization": summarization,
        "qa": qa,
        "math_reasoning": math_reasoning,
        "rag": rag,
    }[kind](r)


def training_item(r: random.Random) -> Item:
    """A training item. It has several questions about one passage, which takes fewer tokens."""
    kind = r.choices(KINDS, weights=(26, 20, 14, 10, 12, 18))[0]
    if kind == "mt_bench" and r.random() < 0.4:  # what is learned last
        return r.choice(HARD)(r)
    if kind == "translation" and r.random() < 0.25:
        return word_list(r)
    if kind in ("qa", "rag", "translation") and r.random() < 0.6:
        make = {"translation": translation, "qa": qa, "rag": rag}[kind]
        return make(r, r.randint(2, 4))
    if kind == "math_reasoning" and r.random() < 0.5:
        items = [math_reasoning(r) for _ in range(r.randint(2, 3))]
        if any(held_out(item) for item in items):
            return next(item for item in items if held_out(item))
        return Item(
            kind,
            [turn for item in items for turn in item.turns],
            items[0].key,
            [ref for item in items for ref in item.reference],
        )
    return ask_kind(r, kind)
