# ruff: noqa: RUF001 (names in many scripts hold letters that look like others)
"""The words of the seeded community: tags, names, habits, gardens and the sentences of stories.

Sixteen themes carry it all: a person cares for a few of them, and their tags, stories, habits and
feature vector (one number per theme) follow, so that matches and shared tags make sense together.
Sentences hold slots (``{place}``, ``{when}``, ``{who}``, ``{n}``) that are filled in once, here:
writing a story is then choosing among finished sentences, which is what makes a million cheap.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


def _listed(text: str) -> tuple[str, ...]:
    return tuple(" ".join(item.split()) for item in text.split(","))


_SLOTS = {
    "{place}": _listed(
        "by the kitchen window, on the balcony, at the bus stop, in the park behind the station,"
        "in my grandmother's chair, on the stairs outside, at the long table, beside the river,"
        "under the old walnut tree, in the empty office"
    ),
    "{when}": _listed(
        "before sunrise, after the rain, on the way home, once the house was quiet, at lunch,"
        "late on Sunday, between two meetings, on the coldest day of the year, just after dinner,"
        "while the kettle boiled"
    ),
    "{who}": _listed(
        "my sister, an old neighbour, my grandfather, a stranger on the train, my daughter,"
        "Mira from downstairs, a colleague, my oldest friend, the woman at the bakery, my teacher"
    ),
    "{n}": _listed("three, five, seven, ten, twelve, fifteen, twenty, thirty, forty, a hundred"),
}


def _variants(template: str) -> tuple[str, ...]:
    """Return the template once per filling of its first slot; other slots follow at an offset."""
    filled = []
    for turn in range(10):
        text = template
        for offset, (slot, fillings) in enumerate(_SLOTS.items()):
            text = text.replace(slot, fillings[(turn + 3 * offset) % len(fillings)])
        filled.append(text)
    return tuple(dict.fromkeys(filled))


def _sentences(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(_variants(line) for line in _lines(text))


@dataclass(frozen=True, slots=True)
class Theme:
    """What people write about: four tags, subjects for titles, sentences in all fillings."""

    tags: tuple[str, ...]
    subjects: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]


def _theme(tags: str, subjects: str, sentences: str) -> Theme:
    return Theme(_listed(tags), _listed(subjects), _sentences(sentences))


THEMES = (
    _theme(
        "meditation, mindfulness, breathing, stillness",
        "ten quiet minutes, the morning sit, counting breaths, doing nothing, the restless mind,"
        "silence",
        """
        I sat {place} and counted breaths until I lost the number, then began again at one.
        For {n} minutes nothing happened, and that was the point.
        My mind wandered to the shopping list, to an old argument, and back to the breath.
        The bell rang {when} and I noticed that my shoulders had come down on their own.
        I told {who} that meditation isn't emptying the mind but being kind to a full one.
        Some days the stillness arrives by itself; today I had to leave the door open for it.
        Following a single breath to its end is harder than it sounds, and more interesting.
        """,
    ),
    _theme(
        "gardening, plants, seasons, compost",
        "the tomato seedlings, a small garden, the first frost, the compost heap, my balcony boxes,"
        "waiting for the beans",
        """
        The seedlings {place} have their first true leaves, and I check on them like a new parent.
        I planted {n} bulbs {when} and already forgot where half of them are.
        Compost is the most hopeful thing I know: everything that failed comes back as soil.
        The frost took the basil overnight, but the kale looks as if it had been waiting for it.
        I learned from {who} to water deeply and seldom, and to leave the leaves where they fall.
        Slugs ate the lettuce, so this year the slugs and I have lettuce in common.
        Pruning the roses felt like an argument with a friend: honest, careful, and good for both.
        """,
    ),
    _theme(
        "running, movement, strength, walking",
        "the long way round, my first ten kilometres, running in the rain, a stiff knee,"
        "the hill behind the school, walking instead",
        """
        I ran {n} minutes {when}, slowly enough to talk, and nobody was there to talk to.
        The hill that used to stop me is now only the place where I breathe through my nose.
        My knee complained, so I walked, and found that walking shows you twice as much.
        I met {who} on the path and we finished the round together without saying much.
        Strength came back quietly: one day the shopping bags were simply lighter.
        I keep my shoes {place}, because seeing them is half of going.
        The last kilometre was all stubbornness, and the shower after it was all joy.
        """,
    ),
    _theme(
        "cooking, baking, nutrition, slow food",
        "sourdough, the soup that simmers all day, a burnt pie, cooking for one,"
        "grandmother's dumplings, bread",
        """
        The dough rose {place} while I did something else, which is the best kind of cooking.
        I peeled {n} apples {when} and the whole house smelled of cinnamon.
        There is no recipe, said my grandmother, only tasting, and more tasting.
        I cooked lentils for {who}, and we ate them straight from the pot.
        The crust burnt and the middle didn't, and we laughed and ate it anyway.
        Eating slowly changed more for me than any list of foods I should avoid.
        A soup that takes all day asks for nothing but that you stay near it.
        """,
    ),
    _theme(
        "reading, books, poetry, libraries",
        "a borrowed novel, the library on Tuesdays, a poem by heart, unread shelves,"
        "reading aloud, the last chapter",
        """
        I read {n} pages {place} and only looked up because the light had gone.
        The library was nearly empty {when}, and the heating ticked like a patient clock.
        A poem learned by heart is something that nobody can borrow and not return.
        I lent my favourite book to {who}, and got it back with a pressed flower inside.
        I used to count the books I finished; now I count the ones I didn't want to end.
        Reading aloud makes even a difficult page walk at the pace of a voice.
        The shelf of unread books is not a reproach, it's a garden I haven't visited yet.
        """,
    ),
    _theme(
        "family, parenting, grandparents, childhood",
        "the family table, bedtime questions, grandfather's letters, a photograph from 1962,"
        "my mother's hands, growing up between two languages",
        """
        At bedtime I was asked {n} questions, and the last one was where yesterday goes.
        We looked through the old photographs {when} and argued about whose nose that is.
        My mother's hands do the same small movement that mine do when I'm thinking.
        I called {who} for no reason, and that turned out to be the best reason.
        Parenting is mostly repeating yourself gently, until one day it was heard.
        We all squeezed {place} and nobody wanted to be the first to leave.
        What I remember of childhood isn't what happened but how the light fell.
        """,
    ),
    _theme(
        "work, focus, burnout, boundaries",
        "saying no, an afternoon without meetings, the empty inbox, after the burnout,"
        "one thing at a time, closing the laptop",
        """
        I closed the laptop {when} and the world didn't end.
        One task, one cup of tea, {n} minutes: it's a small contract, but I keep it.
        After the burnout I learned to notice the tiredness that comes before the tiredness.
        I said no to {who}, kindly, and my voice only shook a little.
        Boundaries aren't walls, they're doors that I'm the one to open.
        I worked {place} with the phone in another room, and found an afternoon I'd lost.
        Being busy had become the way I avoided asking what the work was for.
        """,
    ),
    _theme(
        "nature, hiking, birds, the sea",
        "the heron, a path through beeches, low tide, the first swallows, fog on the ridge,"
        "swimming in October",
        """
        A heron stood {place} so still that I apologised for walking.
        We climbed for {n} minutes through fog, and then stood suddenly above it.
        The swallows came back {when}, and I was happier about it than the news deserved.
        At low tide the beach was twice as wide and there was nobody on either half.
        I showed {who} how to tell a chaffinch by its song, and got it wrong.
        The sea was cold enough to end all my thoughts at once, which was what I came for.
        Under the beeches the light is green and slow, as though the air had thickened.
        """,
    ),
    _theme(
        "creativity, painting, crafts, photography",
        "a bad drawing, the blue hour, mending a jumper, the blank page, watercolour,"
        "a photograph a day",
        """
        I drew the same cup {n} times, and by the end I could see it.
        The watercolour ran where I hadn't planned, and that corner is the best of it.
        I mended the jumper {place} with a thread of the wrong colour, on purpose.
        I photographed the street {when}, when the lamps and the sky are equally bright.
        Making something badly turns out to be far more fun than not making it well.
        I showed the sketchbook to {who}, and nobody laughed, least of all me.
        The blank page is only frightening until the first mistake is on it.
        """,
    ),
    _theme(
        "sleep, rest, evenings, mornings",
        "going to bed early, a slow morning, the afternoon nap, insomnia, no screens after nine,"
        "the hour before anyone wakes",
        """
        I put the phone {place} and slept as I hadn't in weeks.
        I woke {when} and lay there listening to the house being quiet.
        Rest isn't the reward for the work; it's the ground the work stands on.
        For {n} nights now I've turned the lights down early, and the mornings have noticed.
        I asked {who} how they fall asleep so easily, and they said: I stop trying.
        The nap was short, and I woke up with the answer I'd been looking for all week.
        The first hour of the morning belongs to me, and I no longer lend it out.
        """,
    ),
    _theme(
        "learning, languages, curiosity, mathematics",
        "irregular verbs, being a beginner again, a proof, learning to draw maps,"
        "asking silly questions, the night class",
        """
        I learned {n} words today and forgot about half of them, which is how it works.
        Being a beginner again is embarrassing in exactly the way that keeps one young.
        I practised on {who}, whose patience deserves an article of its own.
        The proof fitted on one line {when}, after four pages of going round it.
        I wrote the irregular verbs on cards and left them {place}.
        A silly question saved the class an hour, and I was the one who asked it.
        Curiosity doesn't shout; it's a small pull on the sleeve that I'm learning to follow.
        """,
    ),
    _theme(
        "music, singing, piano, listening",
        "the slow movement, choir practice, an old record, the left hand alone, humming,"
        "a concert in the rain",
        """
        I played the left hand alone for {n} minutes, until it stopped being an accompaniment.
        In the choir I stand next to {who}, and we both come in a little early, out of joy.
        The old record skips at the same place it did when I was eight.
        I hummed {place} and someone hummed the second voice.
        Listening to the whole piece {when}, without doing anything else, felt like a holiday.
        A wrong note played with conviction is called jazz, says my teacher, kindly.
        Between the last chord and the applause there's a silence that I go there for.
        """,
    ),
    _theme(
        "growth, habits, goals, patience",
        "one percent better, a broken streak, small steps, the year in review,"
        "starting over, patience",
        """
        I broke the streak after {n} days, and began again the next morning without ceremony.
        Growth looked like nothing for months, and then like something I'd always had.
        I wrote the goal on a card {place}, and then a smaller one that I could do today.
        Habits are votes, I read, and today I voted {when} and only half asleep.
        I told {who} what I was trying to do, which made it real and slightly frightening.
        Patience isn't waiting; it's what I do while I'm waiting.
        I looked back over the year and saw that the slow parts had carried me.
        """,
    ),
    _theme(
        "grief, healing, recovery, courage",
        "the empty chair, a hundred days sober, the first birthday without her,"
        "physiotherapy, asking for help, the scar",
        """
        It has been {n} months, and I still set out one cup too many.
        Grief came {when}, unannounced as ever, and this time I made it some tea.
        The physiotherapist says that healing isn't a line but a scribble that goes up.
        I finally told {who}, and the sky stayed where it was.
        I sat {place} and cried, and afterwards noticed that the birds hadn't stopped.
        Asking for help was the heaviest thing I lifted this year.
        Courage, it turns out, feels exactly like being afraid, but with shoes on.
        """,
    ),
    _theme(
        "friendship, community, kindness, volunteering",
        "the repair café, a long phone call, the neighbours' stairs, a small kindness,"
        "soup kitchen on Thursdays, old friends",
        """
        We carried {n} chairs up the stairs and stayed for the soup.
        I spoke on the phone with {who} until the battery gave up before we did.
        At the repair café someone mended my lamp {when} and wouldn't take anything for it.
        A note in the letterbox said thank you, without a name, and made my week.
        Old friends continue sentences that were begun in another decade.
        We met {place} as strangers and left with each other's jackets.
        Kindness is quick: it was over before I'd thought of a reason against it.
        """,
    ),
    _theme(
        "gratitude, journaling, self care, joy",
        "three good things, the journal on my pillow, an ordinary Tuesday, letters to myself,"
        "a day off, tiny joys",
        """
        I wrote down {n} good things, and the last of them was the pen.
        Today's joy: an orange eaten {place}, with the peel in one piece.
        I opened last year's journal {when} and wanted to tell its author that it turns out well.
        I'm grateful for {who}, and today I said so, out loud.
        Self care was, for once, not a bath but answering the letter I'd been afraid of.
        An ordinary Tuesday is what I'd wish for, if someone granted wishes.
        Writing it down doesn't change the day, but it changes who's carrying it.
        """,
    ),
)

TAGS = tuple(tag for theme in THEMES for tag in theme.tags)
"""The common tags, folded as the API folds them; four to a theme, in the themes' order."""

TITLES = _lines("""
    What {} taught me
    Notes on {}
    On {}
    {}, again
    Coming back to {}
    A letter about {}
    Why I stopped worrying about {}
    Small thoughts on {}
    {} and other beginnings
    In praise of {}
    Learning from {}
    Still here: {}
    A week of {}
    {}, and what came after
    Something about {}
    The trouble with {}
""")
"""Titles of stories, with the place of the subject."""

OPENINGS = _sentences("""
    It rained all morning and I finally had time to write.
    I've been meaning to write this down since last spring.
    For {n} days I've been paying attention, and it shows.
    It's been {n} weeks, and I'm still surprised by how small the first step was.
    Somebody asked me recently why I keep doing this.
    I almost didn't write today.
    This began with a remark by {who}, who has probably forgotten it.
    Nothing much happened today, and I want to remember it.
    I'm writing this {place}, with a pencil, because the battery is empty.
    A confession first: I had given up on this {when}, and said so.
""")

CLOSINGS = _sentences("""
    That's all for today.
    I'll try again tomorrow, {when}.
    If you know this feeling, write to me.
    Small steps, but they're mine.
    I don't have a conclusion, only a cup of tea going cold.
    Next time I'll bring {who} along.
    Perhaps that's enough.
    I'll come back to this page in {n} days and see what I think then.
    What about you?
    More soon, from the usual seat {place}.
""")

HEADINGS = _lines("""
    What worked
    What I noticed
    Tomorrow
    Things to keep
    For next time
    An honest list
""")

LIST_ITEMS = _sentences("""
    start smaller than you'd like
    **write it down**, even one line
    leave the phone {place}
    tell {who} about it
    {n} minutes are enough
    begin {when}, not later
    *forgive* the missed days
    notice what was already there
""")

BIOS_WHO = _lines("""
    Nurse
    Retired ferry captain
    Teacher of six-year-olds
    Carpenter
    Night-shift baker
    Physics student
    Mother of three
    Father of twins
    Gardener
    Translator
    Software engineer
    Bus driver
    Violin maker
    Beekeeper
    Social worker
    Architect
    Postman
    Biologist
    Cook
    Librarian
    Grandmother
    Engineer on parental leave
    Recovering perfectionist
    Cellist
""")

BIOS_WHERE = _lines("""
    in Lisbon
    on the west coast of Ireland
    in Lagos
    in a small town near Kraków
    in São Paulo
    in Kyoto
    in Hà Nội
    at the edge of Chennai
    in Mexico City
    in Tromsø
    between Zürich and İzmir
    in Cape Town
    in Montréal
    near the sea
    in the flat above the bakery
    in Yerevan
""")

BIOS_WHY = _sentences("""
    I write to find out what I think.
    Here for the quiet stories.
    Trying to keep one small promise a day.
    Ask me about {n} kinds of moss.
    Slowly learning to rest.
    I collect ordinary days.
    Still not good at mornings.
    Happiest outdoors, {when}.
    My best thoughts happen {place}.
    Beginner at nearly everything, and glad of it.
""")

_NAMES = """
    Ada Alice Clara Edith Florence George Harriet Henry Iris James Martha Oliver Rose Thomas Walter
    : Ashworth Barker Clarke Fletcher Hughes Marsh Parker Pemberton Reed Turner Walsh Whitfield
    Amélie Aurélie Benoît Chloé Élodie François Hélène Jérôme Léa Mathéo Noémie Océane Rémi Théo Zoé
    : Béranger Chevalier Delacroix Dubois Fontaine Garnier Lefèvre Moreau Perrin Rousseau Thibault
    Alejandro Begoña Camila Diego Elena Íñigo Joaquín Lucía María Mateo Noelia Rocío Sofía Tomás
    : Álvarez Castañeda Domínguez Fernández García Ibáñez Muñoz Núñez Peña Ramírez Torres Vázquez
    Ana Bruno Caetano Débora Fábio Inês João Júlia Larissa Luís Natália Otávio Renata Tiago Vitória
    : Almeida Araújo Barbosa Carvalho Conceição Ferreira Gonçalves Lourenço Magalhães Ribeiro Simões
    Anneliese Björn Dörte Emil Fritzi Gesa Jürgen Käthe Lotte Matthias Rüdiger Sören Ulrike Wiebke
    : Böhm Brüggemann Eßer Fuchs Großmann Hübner Jäger Köhler Lüders Möller Schäfer Weiß Zöllner
    Agnieszka Bogusława Czesław Elżbieta Grażyna Jędrzej Kasia Łukasz Małgorzata Paweł Stanisław
    : Błaszczyk Dąbrowski Gołębiowska Jabłoński Kamiński Kowalczyk Nowak Szymańska Wójcik Zięba
    Åsa Astrid Eirik Freja Gunnar Håkon Ingrid Jørgen Linnéa Maja Ole Pål Signe Søren Øyvind
    : Ångström Bergström Dahl Hansen Håland Lindqvist Nygård Ødegård Sjöberg Strøm Sørensen Vik
    Айгуль Алексей Борис Вера Галина Дмитрий Ирина Лариса Михаил Наталья Ольга Павел Светлана Тимур
    : Абрамов Белый Волков Гусев Ежов Зайченко Кузнец Лебедь Морозенко Орлюк Соколюк Шевченко
    Amara Chidi Chinwe Emeka Folasade Ifeoma Kelechi Ngozi Obinna Olúwaṣeun Ṣadé Tobi Uche Yetunde
    : Adébáyọ̀ Achebe Adeyemi Balogun Ekwueme Eze Ibekwe Nwosu Obi Ogunleye Okafor Olatunji Onyeka
    Aarav Ananya Arjun Deepa Farhan Gauri Ishaan Kavya Lakshmi Meera Nikhil Priya Rohan Sanjay Zara
    : Banerjee Chatterjee Desai Fernandes Gupta Iyer Kapoor Khan Menon Nair Patel Rao Reddy Sharma
    Aylin Barış Çağla Deniz Ebru Gülşen Hakan Levent Murat Özlem Pınar Selin Şule Tolga Ümit Yağmur
    : Aksoy Bayındır Çelik Demir Erdoğmuş Güneş Kaya Koç Öztürk Şahin Tekin Yıldız Yılmaz Zengin
    Ahmed Fatima Hana Ibrahim Karim Laila Mariam Nour Omar Rania Salma Samir Tariq Yasmin Youssef
    : al-Amin Barakat Darwish El-Sayed Farouk Haddad Hassan Khalil Mansour Nasser Rahman Saleh
    Ayumi Daiki Emi Haruto Hina Kaito Kenji Mei Naoko Ren Sakura Sōta Takeshi Yūki Yuriko 美咲 翔太
    : Fujimoto Hayashi Inoue Ishikawa Kobayashi Matsuda Nakamura Ōno Satō Suzuki Tanaka 山本
    Anh Bảo Chi Đức Giang Hương Khánh Lan Linh Mai Ngọc Phương Quân Thảo Trang Tuấn 志明 小雨 雅婷
    : Bùi Đặng Đinh Dương Hồ Lê Ngô Nguyễn Phạm Phan Trần Võ Vũ 陈 林 王 張
    Akosua Aroha Bheki Kaʻiulani Keoni Kofi Kwame Lerato Mereana Naledi Sione Tāne Thandiwe Wanjirũ
    : Asante Boateng Dlamini Kamau Kealoha Kekoa Mahlangu Mensah Mokoena Ngata Nkosi Otieno Tāwhai
"""


def _names(text: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    rows = [line.removeprefix(":").split() for line in _lines(text)]
    return tuple(
        (tuple(given), tuple(family)) for given, family in zip(rows[::2], rows[1::2], strict=True)
    )


NAMES = _names(_NAMES)
"""Given and family names, kept together by where they're at home."""

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ß": "ss", "ı": "i", "æ": "ae", "å": "a", "ö": "oe", "ü": "ue"}
)


def mailbox(name: str) -> str:
    """Return ``name`` as the local part of an address: ASCII, or ``member`` for other scripts."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(_LETTERS))
    words = ("".join(c for c in word if c.isascii() and c.isalnum()) for word in plain.split())
    return ".".join(word for word in words if word) or "member"


GARDEN_NAMES = _lines("""
    {}'s garden
    {}'s quiet corner
    My growth garden
    The walled garden
    Where the fig tree stands
    Slow orchard
    The garden of small hours
    Moss and patience
    A balcony in the sun
    Second spring
    The long meadow
    Café des herbes
    Onder de appelboom
    小さな庭
    Salt and lavender
    Under the stairs, with ferns
""")
"""Names of gardens; ``{}`` is the given name."""

GARDEN_THEMES = _listed(
    "zen, vineyard, cottage, woodland, desert, herb, orchard, wildflower, moss, rooftop, tropical,"
    "kitchen"
)

HABITS = (
    ("Meditate", "daily", '{"minutes": 10, "time": "morning"}'),
    ("Meditate before bed", "daily", '{"minutes": 15, "time": "evening", "app": false}'),
    ("Sit in silence", "weekly", '{"minutes": 40, "day": "sunday"}'),
    ("Write three lines", "daily", '{"time": "evening", "lines": 3}'),
    ("Morning pages", "daily", '{"pages": 3, "time": "morning", "medium": "paper"}'),
    (
        "Weekly review",
        "weekly",
        '{"day": "friday", "questions": ["what went well?", "what next?"]}',
    ),
    ("Run", "custom", '{"days": ["tue", "thu", "sat"], "km": 5}'),
    ("Long run", "weekly", '{"km": 12.5, "day": "sunday"}'),
    ("Walk without phone", "daily", '{"minutes": 30}'),
    ("Stretch", "daily", '{"minutes": 8, "time": "morning"}'),
    ("Swim", "weekly", '{"lengths": 40, "pool": "indoor"}'),
    ("Climb", "weekly", '{"grade": "6a", "partner": true}'),
    ("Yoga", "custom", '{"days": ["mon", "wed"], "minutes": 45}'),
    ("Read a chapter", "daily", '{"time": "evening", "pages": 20}'),
    ("Read a poem", "daily", '{"time": "morning"}'),
    ("Visit the library", "monthly", '{"books": 4}'),
    ("Water the plants", "custom", '{"every_days": 3}'),
    ("Turn the compost", "monthly", "{}"),
    ("Sow something", "monthly", '{"season": ["spring", "autumn"]}'),
    ("Bake bread", "weekly", '{"day": "saturday", "flour": {"rye": 0.3, "wheat": 0.7}}'),
    ("Cook from scratch", "custom", '{"times_a_week": 4}'),
    ("No sugar", "daily", '{"except": ["birthdays"]}'),
    ("Drink water", "daily", '{"glasses": 8}'),
    ("Practise piano", "daily", '{"minutes": 25, "piece": "Gymnopédie No. 1"}'),
    ("Sing in the choir", "weekly", '{"day": "wednesday"}'),
    ("Draw something", "daily", '{"minutes": 15, "medium": "ink"}'),
    ("One photograph", "daily", '{"camera": "phone"}'),
    ("Mend one thing", "monthly", "{}"),
    ("Learn ten words", "daily", '{"words": 10, "language": "pt"}'),
    ("Speak with my tandem", "weekly", '{"minutes": 60, "language": "日本語"}'),
    ("Solve a puzzle", "daily", '{"time": "lunch"}'),
    ("Call my parents", "weekly", '{"day": "sunday"}'),
    ("Dinner with friends", "monthly", '{"guests": 6}'),
    ("Volunteer at the kitchen", "weekly", '{"day": "thursday", "hours": 3}'),
    ("Write a letter", "monthly", '{"to": "someone far away"}'),
    ("In bed by ten", "daily", '{"time": "22:00"}'),
    ("No screens after nine", "daily", '{"time": "21:00", "strict": true}'),
    ("Afternoon nap", "custom", '{"minutes": 20}'),
    ("Three good things", "daily", '{"count": 3, "time": "evening"}'),
    ("Watch the birds", "weekly", '{"minutes": 30, "place": "harbour"}'),
    ("Go to the sea", "monthly", '{"swim": null}'),
    ("Look at the stars", "custom", '{"when": "clear nights"}'),
)
"""Habits as name, frequency and ``meta`` (JSON text)."""
