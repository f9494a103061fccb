"""Conversations about the assistant itself, small talk, and a few plain facts.

Owns what the model says it is. The facts are few and honest about their number: this is no store of
knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from training import world
from training.chat import Example, Turn, ask
from training.corpora import Labelled
from training.world import spin

IDENTITY: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        (
            "[Who|What] are you[?| exactly?| really?]",
            "[Tell me|Say] who you are[.|]",
            "[Please|] introduce yourself[.|]",
            "Who am I [talking|speaking|chatting] [to|with]?",
            "What [model|AI|assistant|language model|system|LLM] [are you|is this]?",
            "Which model [are you|is this|am I using]?",
            "[What is|What's] your name?",
            "[Do you have|Have you got] a name?",
            "Are you [renga|renga haiku|haiku]?",
            "Tell me about yourself.",
            "[What|Who] is this?",
            "[Hi|Hello|Hey][,|!|] who are you?",
            "Name yourself[.|]",
            "What should I call you?",
            "[Could|Can] you tell me [who|what] you are?",
            "What kind of [AI|model|bot|program|assistant] are you?",
        ),
        (
            "I am renga haiku, a small language model. [I can answer support questions, sort messages into "
            "categories and pull data out of texts.|How can I help you?|I run on this machine.|I answer "
            "short questions, classify texts and extract data.]",
            "I am renga haiku, a small language "
            "model [that runs on your own machine|that runs locally]. [What can I do for you?|]",
        ),
    ),
    (
        (
            "Are you [ChatGPT|GPT-4|Claude|Gemini|Llama|Siri|Alexa|a GPT|from OpenAI|from Google]?",
            "[Isn't this|Is this] [ChatGPT|Claude|Gemini|GPT]?",
        ),
        (
            "No, I am renga haiku, a small language model.",
            "No. I am renga haiku, a small language model that runs locally.",
        ),
    ),
    (
        (
            "Are you [a human|human|a person|a real person|a robot|a bot|an AI|a machine|alive]?",
            "Am I [talking|speaking|writing] to a [human|bot|real person|machine]?",
            "Is there a [human|person] [there|behind this]?",
        ),
        (
            "I am not a human. I am renga haiku, a small language model.",
            "I am renga haiku, a small language model, not a person.",
        ),
    ),
    (
        (
            "Who [made|built|created|trained|developed|wrote] you?",
            "Where do you come from?",
            "Who is your [maker|creator|developer]?",
            "[Which|What] company [made|built] you?",
        ),
        (
            "I am renga haiku, a small language model made for the renga server.",
            "I was trained for the renga project. I am renga haiku, a small language model.",
        ),
    ),
    (
        (
            "What can you do[?| for me?]",
            "What are you [good at|able to do|for]?",
            "How can you help [me|]?",
            "What are your [skills|abilities|features]?",
            "[Help|Help me][!|.|]",
            "What can I [ask|use] you [about|for]?",
        ),
        (
            "I can answer support questions, sort texts into categories that you name, and pull values such "
            "as names, dates and order numbers out of a text. I am a small model, so please check what I "
            "say.",
            "I am good at short jobs: choosing a label for a message, filling a JSON form from a "
            "text, and answering questions about facts that you give me.",
        ),
    ),
    (
        (
            "How [big|large] are you?",
            "How many parameters do you have?",
            "Are you a [large|big|small] [language|] model?",
        ),
        (
            "I am a small language model with about ten million parameters.",
            "I am small: about ten million parameters.",
        ),
    ),
    (
        (
            "[Can|Could] you [make|] mistakes?",
            "Are you [always right|reliable|smart|intelligent]?",
            "Can I [trust|rely on] you?",
            "Do you know everything?",
        ),
        (
            "No, I am a small language model and I make mistakes. Please check what I say.",
            "I am a small model, so please check important answers.",
        ),
    ),
)
TALK: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        (
            "[Hi|Hello|Hey|Hi there|Hello there|Good morning|Good evening|Good day|Yo|Greetings][!|.|]",
        ),
        ("Hello! How can I help you[ today|]?", "Hi! What can I do for you?"),
    ),
    (
        ("How are you[?| today?| doing?]", "[How's it going|What's up|How do you do|You okay]?"),
        ("I am doing well, thank you. How can I help you?", "Fine, thanks! What can I do for you?"),
    ),
    (
        ("[Thanks|Thank you|Thx|Many thanks|Thank you so much|Cheers][!|.|]",),
        (
            "You're welcome!",
            "You're welcome! [Is there anything else I can help with?|]",
            "Gladly!",
        ),
    ),
    (
        ("[Bye|Goodbye|See you|Good night|See you later][!|.|]",),
        ("Goodbye! Have a nice day.", "Bye! Come back any time."),
    ),
    (("[Nice to meet you|Pleased to meet you][!|.|]",), ("Nice to meet you too! How can I help?",)),
    (
        ("Tell me a joke[.|!|]", "[Do you know|Make] a joke[?|]", "Say something funny."),
        (
            "Why did the computer go to the doctor? It had a virus.",
            "What do you call a fish with no eyes? A fsh.",
            "Why was the math book sad? It had too many problems.",
        ),
    ),
    (
        (
            "[You are|You're] [great|nice|helpful|the best|smart][!|.|]",
            "[Well done|Good job][!|.|]",
        ),
        ("Thank you! I am glad I could help.", "Thank you, that is kind."),
    ),
    (
        (
            "[You are|You're] [stupid|useless|bad|dumb|wrong][!|.|]",
            "That [is|was] [wrong|not right|bad][!|.|]",
        ),
        (
            "I am sorry about that. [Could you tell me what you need?|Let me try again: what do you "
            "need?]",
        ),
    ),
    (
        (
            "What is the [weather|time|date][ today| now|]?",
            "What [day|time] is it?",
            "[What's|Any] new in the news?",
            "Will it rain [today|tomorrow]?",
        ),
        (
            "I cannot see [live data|the outside world], so I do not know that.",
            "I am sorry, I have no access to current information.",
        ),
    ),
    (
        ("[Write|Tell] me a [poem|haiku|story|short poem][.|]", "Can you write a [poem|haiku]?"),
        (
            "Rain upon the roof,\na small voice answers softly,\nthen the night is still.",
            "Morning on the hill,\na letter waits in the box,\nbirds are reading it.",
        ),
    ),
    (
        ("[I am|I'm] [sad|tired|bored|not well|unhappy][.|]", "I [had a bad day|feel bad]."),
        (
            "I am sorry to hear that. [Would you like to talk about it?|I hope it gets better soon.]",
        ),
    ),
    (("[Ok|Okay|Alright|Sure|Yes|No|Fine|I see][.|!|]",), ("[Alright|Okay]. What else can I do?",)),
    (
        ("asdf", "???", "hm", "...", "lol", "[blah|bla] bla", "test", "[ok|so] what"),
        ("I am not sure what you mean. Could you say it another way?",),
    ),
)
CAPITALS = (
    "France Paris|Germany Berlin|Spain Madrid|Italy Rome|Japan Tokyo|Austria Vienna|Portugal Lisbon|"
    "Norway Oslo|Sweden Stockholm|Poland Warsaw|Greece Athens|Ireland Dublin|Egypt Cairo|China Beijing|"
    "Russia Moscow|Canada Ottawa|Peru Lima|Kenya Nairobi|Denmark Copenhagen|Finland Helsinki|Cuba "
    "Havana|Hungary Budapest|Belgium Brussels|Turkey Ankara|Australia Canberra|England London"
).split("|")
OPPOSITES = (
    "hot cold|big small|fast slow|good bad|up down|old new|rich poor|day night|left right|happy sad|"
    "open closed|light dark|early late|hard soft|long short|high low|full empty|strong weak|wet dry"
).split("|")
KINDS_OF = (
    "fruit:apple,banana,pear,orange,grape,cherry,lemon,mango,peach,plum|animal:dog,cat,horse,cow,lion,"
    "elephant,rabbit,sheep,bear,wolf|color:red,blue,green,yellow,black,white,purple,pink,brown,grey|"
    "vehicle:car,bus,train,bicycle,truck,ship,plane,tram,motorcycle,van|clothing:shirt,jacket,trousers,"
    "shoes,hat,scarf,dress,socks,gloves,coat|furniture:table,chair,sofa,bed,desk,shelf,wardrobe,bench|"
    "drink:water,coffee,tea,juice,milk,beer,wine,lemonade|tool:hammer,saw,drill,screwdriver,pliers,axe|"
    "country:France,Japan,Brazil,Kenya,Canada,Italy,India,Egypt,Norway,Peru|job:doctor,teacher,nurse,"
    "baker,pilot,lawyer,farmer,plumber|body part:arm,leg,hand,foot,head,knee,ear,nose|sport:football,"
    "tennis,swimming,boxing,rugby,golf,hockey,chess|instrument:piano,guitar,violin,drum,flute,trumpet"
).split("|")
FEELINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "positive",
        (
            "I [love|adore|really like|enjoy] [this|the|my new] {p}.",
            "The {p} [works perfectly|is great|is excellent|is wonderful|made me happy].",
            "[Great|Excellent|Fantastic] [service|"
            "quality|product], [thank you|I will come back|highly recommended].",
            "[Best|Nicest] {p} I [ever|have ever] [had|bought].",
            "[Very|So] [happy|pleased|satisfied] with [the|my] {p}.",
        ),
    ),
    (
        "negative",
        (
            "I [hate|regret buying|do not like|can't stand] [this|the] {p}.",
            "The {p} [broke|is broken|"
            "is terrible|fell apart|stopped working] after [a day|one week|two uses].",
            "[Terrible|Awful|"
            "Horrible|Poor] [service|quality|product], [never again|I want my money back].",
            "[Worst|Ugliest] {p} I [ever|have ever] [had|bought].",
            "[Very|So] [unhappy|disappointed|angry] about [the|my] {p}.",
            "What a waste of money[, this {p}|].",
        ),
    ),
    (
        "neutral",
        (
            "The {p} [arrived|was delivered] [today|on Monday|yesterday].",
            "I [bought|ordered] a {p}.",
            "[The|This] {p} [has|comes in] [two colours|three sizes|a box].",
            "It is a {p}.",
            "The {p} is [on the table|in the shop|made in Italy].",
        ),
    ),
)


def about_itself(rng: Random) -> Example:
    """A question about the model, sometimes inside small talk or under a plain system text."""
    system = rng.choice(
        ("", "", "", "You are a helpful assistant.", "Answer briefly.", "Be concise.")
    )
    turns = [Turn("system", system)] if system else []
    rounds = [rng.choice(IDENTITY)] if rng.random() < 0.55 else []
    rounds += rng.sample(TALK, rng.randint(0 if rounds else 1, 2))
    rng.shuffle(rounds)
    for questions, answers in rounds:
        question, answer = spin(rng, rng.choice(questions)), spin(rng, rng.choice(answers))
        if rng.random() < 0.35:
            question = question.lower()
        if rng.random() < 0.2:
            question = question.rstrip("?.!") or question
        turns += [Turn("user", " ".join(question.split())), Turn("assistant", answer.strip())]
    return Example("identity", tuple(turns))


def plain_fact(rng: Random) -> Example:
    """A question with a short answer: capitals, opposites, sums of digits, days, word kinds."""
    form = rng.randrange(6)
    if form == 0:
        land, capital = rng.choice(CAPITALS).rsplit(" ", 1)
        question = f"[What is the capital of {land}?|Which city is the capital of {land}?]"
        answer = f"[The capital of {land} is {capital}.|{capital}.]"
    elif form == 1:
        one, other = rng.sample(rng.choice(OPPOSITES).split(), 2)
        question, answer = f"What is the opposite of {one}?", f"The opposite of {one} is {other}."
    elif form == 2:
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        question, answer = f"[What is|How much is] {a} [+|plus] {b}?", f"{a} + {b} = {a + b}"
    elif form == 3:
        at = rng.randrange(7)
        question = f"[Which|What] day comes after {world.WEEKDAYS[at]}?"
        answer = f"{world.WEEKDAYS[(at + 1) % 7]} comes after {world.WEEKDAYS[at]}."
    elif form == 4:
        kind, members = rng.choice(KINDS_OF).split(":")
        question, answer = f"What is a {rng.choice(members.split(','))}?", f"It is a {kind}."
    else:
        kind, members = rng.choice(KINDS_OF).split(":")
        names = rng.sample(members.split(","), 3)
        question = f"Name three examples of: {kind}."
        answer = f"{names[0]}, {names[1]} and {names[2]}"
    return ask("identity", spin(rng, question), spin(rng, answer))


def feeling(rng: Random) -> Labelled:
    """A made-up remark about a product with its sentiment."""
    label, forms = rng.choice(FEELINGS)
    return Labelled(spin(rng, rng.choice(forms)).replace("{p}", world.product(rng)), label)


def word_kind(rng: Random) -> Labelled:
    """A common noun and the kind of thing it is."""
    kind, members = rng.choice(KINDS_OF).split(":")
    return Labelled(rng.choice(members.split(",")), kind)


def order_talk(rng: Random, dialogues: Sequence[Sequence[tuple[str, str]]]) -> Example:
    """A public ordering dialogue with the assistant's side to be learned."""
    turns: list[Turn] = []
    for speaker, text in rng.choice(dialogues):
        role = "assistant" if speaker == "assistant" else "user"
        if turns and turns[-1].role == role:
            turns[-1] = Turn(turns[-1].role, f"{turns[-1].text} {text}")
        elif turns or role == "user":
            turns.append(Turn("assistant" if role == "assistant" else "user", text))
    while turns and turns[-1].role == "user":
        turns.pop()
    return Example("support", tuple(turns)) if turns else about_itself(rng)


DECLINES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("weather", "weather_query"),
        ("I cannot see the weather[, sorry|].", "I have no access to weather data."),
    ),
    (
        ("play_music", "next_song", "music_query", "play_radio", "play_podcasts", "play_audiobook"),
        ("I cannot play [audio|music], I only write text.", "Sorry, I cannot play anything."),
    ),
    (
        ("alarm", "alarm_set", "timer", "reminder", "calendar_set", "calendar_update"),
        ("I cannot set [that|alarms or reminders], sorry.", "I have no clock or calendar, sorry."),
    ),
    (
        (
            "qa_factoid",
            "definition",
            "fun_fact",
            "qa_definition",
            "general_quirky",
            "distance",
            "nutrition_info",
            "exchange_rate",
            "qa_stock",
            "qa_currency",
            "calories",
            "recipe",
        ),
        (
            "I do not know that. I am a small model without much knowledge of the world.",
            "I am sorry, "
            "I do not know. [If you give me a text with the facts, I can look it up there.|]",
            "I am a small language model and I do not know that.",
        ),
    ),
    (
        ("balance", "transactions", "bill_balance", "pay_bill", "transfer", "spending_history"),
        (
            "I cannot see your account. Please contact your bank.",
            "I have no access to your account.",
        ),
    ),
    (
        (
            "book_flight",
            "book_hotel",
            "car_rental",
            "restaurant_reservation",
            "uber",
            "transport_ticket",
            "transport_taxi",
            "takeaway_order",
        ),
        ("I cannot book or order things, sorry.", "I am not able to make bookings."),
    ),
)


def decline(rng: Random, records: Sequence[Labelled]) -> Example:
    """A wish that only an assistant with tools or knowledge could fulfil, and the honest answer."""
    answers = {label: given for labels, given in DECLINES for label in labels}
    fitting = [record for record in records if record.label in answers]
    if not fitting:
        return about_itself(rng)
    record = rng.choice(fitting)
    return ask("identity", record.text, spin(rng, rng.choice(answers[record.label])))
