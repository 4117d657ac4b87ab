"""The words of the corpus: names, places, things and a small German-English dictionary."""

FIRST = """Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Karla Leo Mara Nils Olga
Paul Rosa Simon Tessa Viktor Wanda Xaver Yara Zoe Adam Bella Carl Dora Erik Flora Georg
Helen Ivan Julia Kurt Lena Max Nora Otto Petra Robin Sara Tom Ulla Vera Walter Lucas
Maria""".split()
FEMALE = set("""Anna Clara Emma Greta Ida Karla Mara Olga Rosa Tessa Wanda Yara Zoe Bella Dora
Flora Helen Julia Lena Nora Petra Sara Ulla Vera Maria""".split())
LAST = """Jensen Moreau Novak Berg Costa Dahl Evans Fischer Grant Holm Ivory Jarvis
Keller Lind Marsh Nolan Ortega Price Quinn Rossi Stone Turner Urban Vogel Weber Young
Adler Brook Carter Drake Egan Frost Gale Hart Irving Joyce Kemp Lowe Mills North Owens
Page Reed Shaw""".split()
TOWN = """Ashford Brimley Calder Dunmore Elmwood Fairview Glenby Harwick Ilford Kingsley
Lakeside Merton Norbury Oakham Penrith Redhill Selby Thornton Upton Walden Yarrow
Aldbury Benton Corwen Dalton Eastley Fenwick Garston Hatfield Kelso Linden Milton
Newbury Orton Preston Rydal Stanton Tilbury Weston Wickham""".split()
DAY = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTH = (
    "January February March April May June July August September October November December".split()
)
JOB = """teacher baker doctor sailor farmer painter lawyer tailor printer miller singer
weaver gardener builder pilot writer""".split()

# Trades for role play: product, tool, customers, favorite thing.
TRADE = {
    "baker": ("bread and cakes", "an oven", "hungry neighbours", "the smell of warm bread"),
    "tailor": ("coats and dresses", "a needle", "elegant guests", "the feel of soft cloth"),
    "gardener": ("roses and herbs", "a spade", "people who love flowers", "the first green leaves"),
    "carpenter": ("tables and chairs", "a saw", "young families", "the smell of fresh wood"),
    "fisherman": ("nets and fish", "a boat", "the cooks of the harbour", "the calm sea at dawn"),
    "teacher": ("lessons and books", "a blackboard", "curious children", "the good questions"),
    "painter": ("portraits and landscapes", "a brush", "art lovers", "the morning light"),
    "clockmaker": (
        "clocks and watches",
        "a small hammer",
        "careful travellers",
        "the quiet ticking",
    ),
    "farmer": (
        "apples and potatoes",
        "a tractor",
        "the people of the market",
        "the long summer evenings",
    ),
    "sailor": ("ropes and sails", "a compass", "merchants", "the stars above the sea"),
    "cook": ("soups and stews", "a sharp knife", "tired workers", "the steam in the kitchen"),
    "potter": ("bowls and jugs", "a wheel", "tea drinkers", "the wet clay"),
}
MOOD = (
    "brave clever shy cheerful lonely patient curious honest proud gentle stubborn careful".split()
)
FIND = """lamp key map ring violin letter coin mirror lantern book box whistle bell
crown compass scarf""".split()
WHERE = {
    "forest": "in the forest",
    "garden": "in the garden",
    "harbour": "at the harbour",
    "castle": "in the castle",
    "cave": "in the cave",
    "market": "at the market",
    "tower": "in the tower",
    "valley": "in the valley",
    "attic": "in the attic",
    "station": "at the station",
    "library": "in the library",
    "island": "on the island",
}
GOODS = """apples pears pencils stamps marbles buttons shells books cards tickets
cookies eggs roses coins stickers plums lemons bottles candles nuts""".split()
BUY = (
    "lamp chair coat bag clock table hat kettle jacket vase basket radio blanket mirror pan".split()
)
COLOR = "red blue green white black yellow brown grey".split()

# Definitions and properties, for comparisons.
SCIENCE = {
    "volcano": (
        "a mountain with an opening to the hot rock below",
        "it can throw out lava and ash",
    ),
    "glacier": ("a large body of ice that moves slowly", "it carves valleys over many years"),
    "river": ("a stream of fresh water that flows to the sea", "it carries sand and stones"),
    "desert": ("a dry region with very little rain", "its days are hot and its nights are cold"),
    "star": ("a ball of glowing gas", "it makes its own light"),
    "planet": ("a round body that moves around a star", "it only reflects light"),
    "comet": ("a lump of ice and dust", "it grows a tail near the sun"),
    "magnet": ("a piece of metal that attracts iron", "it has two poles"),
    "battery": ("a store of electric energy", "it has to be charged again"),
    "lens": ("a curved piece of glass", "it bends light"),
    "engine": ("a machine that turns fuel into motion", "it becomes hot at work"),
    "cell": ("the smallest living part of a body", "it divides to grow"),
    "leaf": ("the green part of a plant", "it makes sugar from light"),
    "bird": ("an animal with feathers", "it lays eggs"),
    "whale": ("a mammal that lives in the sea", "it comes up to breathe"),
    "spider": ("a small animal with eight legs", "it spins a web"),
    "cloud": ("a mass of tiny drops of water", "it brings rain"),
    "tide": ("the rise and fall of the sea", "it follows the moon"),
}

# German word, gender, English word. There are no weak nouns, because their endings need more rules.
PERSON = [
    tuple(entry.split(":"))
    for entry in """Lehrer:m:teacher Ärztin:f:doctor Bäcker:m:baker Königin:f:queen
Kind:n:child Koch:m:cook Gärtner:m:gardener Malerin:f:painter Fischer:m:fisherman
Bruder:m:brother Richter:m:judge Sängerin:f:singer Schwester:f:sister Onkel:m:uncle
Tante:f:aunt Pilotin:f:pilot""".split()
]
THING = [
    tuple(entry.split(":"))
    for entry in """Stuhl:m:chair Tisch:m:table Lampe:f:lamp Buch:n:book Brief:m:letter
Messer:n:knife Blume:f:flower Uhr:f:clock Schlüssel:m:key Mantel:m:coat Hut:m:hat
Tasche:f:bag Bild:n:picture Boot:n:boat Karte:f:map Ring:m:ring Kuchen:m:cake
Suppe:f:soup Kleid:n:dress Kerze:f:candle Fisch:m:fish Ball:m:ball""".split()
]
PLACE = [
    tuple(entry.split(":"))
    for entry in """Garten:m:garden Küche:f:kitchen Haus:n:house Stadt:f:city Wald:m:forest
Schule:f:school Dorf:n:village Park:m:park Bibliothek:f:library Zimmer:n:room
Zug:m:train Hotel:n:hotel""".split()
]
PERSON_ADJECTIVE = [
    tuple(entry.split(":")) for entry in """alt:old jung:young klein:small reich:rich arm:poor
freundlich:friendly klug:clever stark:strong still:quiet groß:tall""".split()
]
THING_ADJECTIVE = [
    tuple(entry.split(":"))
    for entry in """neu:new rot:red blau:blue grün:green schön:beautiful schwer:heavy
schmutzig:dirty warm:warm kalt:cold weiß:white schwarz:black lang:long""".split()
]
STATE = [
    tuple(entry.split(":"))
    for entry in "müde:tired krank:ill froh:glad hungrig:hungry traurig:sad allein:alone".split()
]
# Present, past and infinitive, in German and in English.
VERB = [
    tuple(entry.replace("_", " ").split(":")) for entry in """kauft:kaufte:kaufen:buys:bought:buy
sucht:suchte:suchen:seeks:sought:seek findet:fand:finden:finds:found:find
bringt:brachte:bringen:brings:brought:bring verkauft:verkaufte:verkaufen:sells:sold:sell
sieht:sah:sehen:sees:saw:see holt:holte:holen:fetches:fetched:fetch
malt:malte:malen:paints:painted:paint zeigt:zeigte:zeigen:shows:showed:show
putzt:putzte:putzen:cleans:cleaned:clean braucht:brauchte:brauchen:needs:needed:need
versteckt:versteckte:verstecken:hides:hid:hide""".split()
]
MODAL = [
    tuple(entry.replace("_", " ").split(":"))
    for entry in "will:wants_to kann:can muss:must möchte:would_like_to".split()
]
NOW = [
    tuple(entry.replace("_", " ").split(":"))
    for entry in """heute:today jetzt:now am_Montag:on_Monday am_Freitag:on_Friday
im_Winter:in_winter im_Sommer:in_summer jeden_Tag:every_day am_Abend:in_the_evening""".split()
]
THEN = [
    tuple(entry.replace("_", " ").split(":"))
    for entry in """gestern:yesterday damals:at_that_time am_Sonntag:on_Sunday
letztes_Jahr:last_year letzte_Woche:last_week""".split()
]
