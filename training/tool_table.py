"""Tools that many programs have, and how people ask for what they do: the table."""

from __future__ import annotations

import string

from training import world
from training.tool_families import Family, Slot
from training.tool_forms import Kind
from training.tool_values import (
    CURRENCIES,
    DISHES,
    LANGUAGES,
    LINES,
    SKY,
    TOPICS,
    TROUBLES,
    UNITS,
    WORDS,
    decimal,
    number,
    one_of,
    phrase,
    quantity,
    ticker,
    title,
)

CITY = Slot("city|location|place|town|city_name", "[The|Name of the|] [city|place]", world.city)
ORDER = Slot(
    "order id|order number|order|id|order no", "[The|] order [number|id]", world.order_number
)
NUMBER: Kind = "number"

FAMILIES: tuple[Family, ...] = (
    Family(
        "weather",
        "check the weather",
        "[get|check|fetch|] [weather|current weather|weather report]|weather lookup|forecast",
        (
            "[Get|Gets|Look up|Returns] the [current|] weather [in|for|of] a [city|place|location].",
            "[Current|Today's] weather [conditions|] for a [city|given city].",
        ),
        {
            "city": CITY,
            "unit": Slot(
                "unit|units|scale",
                "[Unit of the temperature|celsius or fahrenheit]",
                one_of("celsius|fahrenheit"),
                choices="celsius|fahrenheit",
                required=False,
            ),
        },
        {
            "temperature": number(-9, 38),
            "condition": one_of(SKY),
            "humidity": number(20, 95),
            "wind": number(0, 60),
        },
        (
            (
                "[What is|What's|How is|How's] the weather [like|] [in|for] {city}[ today| right now|]?",
                "[It is|It's] {condition} in {city} with {temperature} degrees.",
            ),
            (
                "[How warm|How cold|How hot] is it in {city}[ now|]?",
                "It is {temperature} degrees in {city}.",
            ),
            (
                "[What is|What's|Tell me] the temperature in {city} [in {unit}|in {unit}, please|].",
                "The temperature in {city} is {temperature} degrees.",
            ),
            (
                "[Is it|Will it be] [raining|sunny|nice|cloudy] in {city}[ today|]?",
                "In {city} it is {condition}.",
            ),
            (
                "[Do I need an umbrella|Should I take a coat] in {city}?",
                "It is {condition} in {city}, {temperature} degrees.",
            ),
            (
                "[Weather|Forecast] [in|for] {city}[, please|]",
                "{city}: {condition}, {temperature} degrees.",
            ),
            ("How [humid|damp] is it in {city}?", "The humidity in {city} is {humidity} percent."),
            (
                "[I travel|We fly|I go] to {city}[ soon| today|]. [How warm is it there|What temperature do they have]?",
                "It is {temperature} degrees in {city}.",
            ),
            (
                "[How many degrees|What temperature] [is it|are there|do they have] in {city} [now|today|outside|]?",
                "{city} has {temperature} degrees.",
            ),
            (
                "[Check|Look up] the weather in {city}[ for me|], in {unit}[ please|].",
                "{city} has {temperature} degrees and it is {condition}.",
            ),
        ),
        "[The weather in {city}:|{city}:|In {city} it is] {condition}, {temperature} degrees",
    ),
    Family(
        "orders",
        "look up orders",
        "[get|look up|check|find|fetch|track|] order|[get|check|] order status|where is order",
        (
            "[Look up|Find|Get|Fetch|Returns] [an|the] order by [its|] [number|id].",
            "[Status|State] of an order.",
            "[Check|Track] [a customer's|an] order.",
        ),
        {"order": ORDER},
        {
            "status": one_of(
                "shipped|in transit|delivered|being packed|cancelled|delayed|ready for pickup|"
                "waiting for payment|out for delivery|processing|returned|on hold|backordered"
            ),
            "carrier": one_of("DHL|UPS|FedEx|USPS|DPD|Hermes|GLS"),
            "date": world.date,
            "item": world.product,
            "total": decimal(3, 900),
        },
        (
            (
                "[Where is|Where's] [my|the|] order {order}?",
                "[Your order|Order] {order} is {status}.",
            ),
            (
                "[What is|What's|Tell me|Give me] the [status|state] of [my|] order {order}[, please|]",
                "[The status of order {order} is {status}|Order {order} is {status}].",
            ),
            (
                "[Please|] [look up|check|find|pull up|track] [my|the|] order {order}[ for me|]",
                "[I looked it up|I checked it|Here it is]: order {order} is {status}.",
            ),
            (
                "Has [my|] order {order} [shipped|arrived|left] [yet|]?",
                "Order {order} is {status}.",
            ),
            (
                "[Any news|Is there news] [about|on] [my|] order [number|] {order}[ yet| today|]?",
                "Order {order} is {status}.",
            ),
            (
                "[What happens with|What became of|How far is] [my|] order[ number| no.|] {order} [now|by now|, please|]?",
                "Order {order} is {status}.",
            ),
            (
                "When [will|does] order {order} [arrive|come]?",
                "The date for order {order} is {date}.",
            ),
            (
                "[Who delivers|Which carrier has] [my|] order {order}?",
                "Order {order} comes with {carrier}.",
            ),
            (
                "My order [number|] is {order}. [What is happening with it|Where is it|What's the status]?",
                "Your order {order} is {status}.",
            ),
            ("[Any news on|What about] {order}?", "Order {order} is {status}."),
            ("[What did I order in|What is in] {order}?", "Order {order} is a {item}."),
            ("How much [was|is] order {order}?", "The total of order {order} is {total}."),
        ),
        "Order {order}[ is|:] {status}[, {date}|]",
    ),
    Family(
        "stocks",
        "check stock prices",
        "[get|fetch|] [stock price|stock|quote|share price]|price of stock",
        (
            "[Get|Returns|Look up] the [current|latest|] [stock|share] price [of|for] a [ticker|symbol|company].",
            "Stock quotes by symbol.",
        ),
        {
            "symbol": Slot(
                "symbol|ticker|stock|ticker symbol", "[The|] [ticker|stock] symbol", ticker
            )
        },
        {"price": decimal(2, 900), "change": decimal(-9, 9), "currency": one_of("USD|EUR")},
        (
            (
                "[What is|What's] the [price of|stock price of|share price of] {symbol}[ now| today|]?",
                "[The price of {symbol} is|{symbol} is at|{symbol} trades at] {price}.",
            ),
            ("How [is|much is] {symbol} [trading|doing|] [today|now|]?", "{symbol} is at {price}."),
            ("[Quote|Price|Stock price] for {symbol}[, please|]", "{symbol}: {price}"),
            (
                "[What do|How much do|At what price do] [I pay for|] {symbol} [shares|stocks|papers] [cost|trade|stand at][ today|]?",
                "{symbol} [is|stands|trades] at {price}.",
            ),
            (
                "[I hold|I own|We bought] {symbol} [shares|stock]. [What are they worth|What is the price now]?",
                "The price of {symbol} is {price}.",
            ),
            (
                "[Should I sell|I think of buying] {symbol} [stock|shares]? [Get|Check] the price[ first|].",
                "{symbol}[ is| is at|:] {price}.",
            ),
            ("[Check|Look up|Get] [the stock|] {symbol}[ for me|]", "{symbol} stands at {price}."),
            (
                "How much has {symbol} [changed|moved]?",
                "{symbol} has changed by {change} and is at {price}.",
            ),
        ),
        "{symbol}[ is at|:] {price}",
    ),
    Family(
        "exchange",
        "convert currencies",
        "[convert|exchange] [currency|money]|currency converter|[convert|exchange] amount",
        (
            "[Convert|Converts|Exchange] [an amount|money] [from one currency to another|between currencies].",
            "Currency conversion [at today's rate|].",
        ),
        {
            "amount": Slot(
                "amount|value|sum|money", "[The|] amount [to convert|]", quantity, NUMBER
            ),
            "from": Slot(
                "from currency|from|source|base|source currency",
                "[Currency to convert from|Source currency]",
                one_of(CURRENCIES, " "),
            ),
            "to": Slot(
                "to currency|to|target|target currency",
                "[Currency to convert to|Target currency]",
                one_of(CURRENCIES, " "),
            ),
        },
        {"converted": decimal(1, 20000), "rate": decimal(0, 9)},
        (
            (
                "[Convert|Change|Exchange] {amount} {from} [to|into] {to}[, please| for me|].",
                "{amount} {from} is {converted} {to}.",
            ),
            (
                "[How much is|What is|What's] {amount} {from} in {to}?",
                "{amount} {from} [is|are|makes] {converted} {to}.",
            ),
            ("How many {to} [do I get for|are] {amount} {from}?", "You get {converted} {to}."),
            ("{amount} {from} [to|in] {to}[?|]", "{converted} {to}"),
        ),
        "{amount} {from} = {converted} {to}",
    ),
    Family(
        "clock",
        "tell the time",
        "[get|] [current time|local time|time]|[get|] time in [city|zone]|clock",
        (
            "[Get|Returns] the [current|local|] time in a [city|place].",
            "What time it is [somewhere|in a city].",
        ),
        {"city": CITY},
        {"time": world.time_of_day, "zone": one_of("CET|EST|PST|GMT|JST|UTC+2|UTC-3|IST")},
        (
            ("What time is it in {city}[ now|]?", "It is {time} in {city}."),
            (
                "[What's|Tell me] the [local|current|] time in {city}.",
                "The time in {city} is {time}.",
            ),
            ("How late is it in {city}?", "In {city} it is {time}."),
            ("[Which|What] time zone is {city} in?", "{city} is in the time zone {zone}."),
        ),
        "[It is|Local time in {city}:] {time}",
    ),
    Family(
        "units",
        "convert units",
        "[convert|change] units|unit converter|convert [unit|measure]",
        (
            "[Convert|Converts] [a value|a number|] [from one unit to another|between units].",
            "Unit conversion [of length, weight and volume|].",
        ),
        {
            "value": Slot(
                "value|amount|number|quantity", "[The|] [value|number] to convert", quantity, NUMBER
            ),
            "from": Slot(
                "from unit|from|unit from|source unit",
                "[Unit to convert from|Source unit]",
                one_of(UNITS),
            ),
            "to": Slot(
                "to unit|to|unit to|target unit", "[Unit to convert to|Target unit]", one_of(UNITS)
            ),
        },
        {"converted": decimal(0, 9000)},
        (
            (
                "[Convert|Turn] {value} {from} [to|into] {to}[, please|].",
                "{value} {from} is {converted} {to}.",
            ),
            (
                "[How much is|What is|What's] {value} {from} in {to}?",
                "{value} {from} is {converted} {to}.",
            ),
            ("How many {to} are {value} {from}?", "{value} {from} are {converted} {to}."),
            ("{value} {from} in {to}[?|, please]", "{converted} {to}"),
        ),
        "{converted} {to}",
    ),
    Family(
        "search",
        "search the web",
        "[search|web search|search web|google|find pages|lookup web]|internet search",
        (
            "[Search|Searches] the [web|internet][ for a query|].",
            "[Find|Look up] pages [on the web|about something].",
        ),
        {
            "query": Slot(
                "query|q|search|text|search query|question",
                "[The|] [search query|words to search for]",
                lambda rng: rng.choice(TOPICS),
            ),
            "limit": Slot(
                "limit|max results|count|n",
                "[How many|Number of] results",
                number(2, 20),
                "integer",
                required=False,
            ),
        },
        {"title": title, "site": lambda rng: f"{world.word(rng)}.{rng.choice(('com', 'org'))}"},
        (
            (
                "[Search|Look] [the web|the internet|] for {query}[, please|]",
                "I found {title} on {site}.",
            ),
            (
                "[Search for|Find me|Find] {limit} [pages|results] [about|on] {query}.",
                "[One of them is|The first is] {title} on {site}.",
            ),
            ("[Google|Look up] {query}[ for me|]", "The first [hit|result] is {title} on {site}."),
            ("What can you find [online|on the web] about {query}?", "There is {title} on {site}."),
        ),
        "1. {title} ({site})",
    ),
    Family(
        "mail",
        "send emails",
        "[send|write|] email|[send|] mail|send message|mail sender",
        (
            "[Send|Sends] an [email|e-mail|mail][ to somebody| to an address|].",
            "Email [somebody|a person].",
        ),
        {
            "to": Slot(
                "to|recipient|address|email|to address",
                "[The|] [recipient|address]",
                lambda r: world.email(r) if r.random() < 0.65 else world.person(r),
            ),
            "subject": Slot(
                "subject|title|subject line", "[The|] subject", lambda r: r.choice(LINES)
            ),
            "body": Slot("body|text|message|content", "[The|] [text|body]", phrase, required=False),
        },
        {"id": lambda rng: world.digits(rng, 3, 6)},
        (
            (
                '[Send|Write] [an email|a mail] to {to} with [the|] subject "{subject}".',
                "[The email|Your email|It] to {to} [was|has been] sent.",
            ),
            (
                '[Email|Mail] {to}, subject {subject}, [text|saying] "{body}".',
                "Done, the email to {to} is sent.",
            ),
            (
                '[Please|] [send|email] {to} "{body}" under the subject "{subject}".',
                "I sent the email to {to}.",
            ),
            ("[Send a mail|Email] to {to}: {subject}", "Your mail to {to} is on its way."),
        ),
        "[Email|Mail|Message {id}] sent[ to {to}|]",
    ),
    Family(
        "tickets",
        "create tickets",
        "[create|open|new|file] ticket|[create|open] issue|report problem",
        (
            "[Create|Creates|Open|Opens] a [support|] ticket.",
            "[Report|File] a problem [to the team|].",
        ),
        {
            "title": Slot(
                "title|summary|subject|problem|description",
                "[Short|] [title|summary|description][ of the problem|]",
                lambda r: r.choice(TROUBLES),
            ),
            "priority": Slot(
                "priority|urgency|severity",
                "[How urgent it is|The priority]",
                one_of("low|medium|high"),
                choices="low|medium|high",
                required=False,
            ),
        },
        {"ticket": lambda rng: world.digits(rng, 3, 6), "state": one_of("open|new|queued")},
        (
            (
                '[Open|Create|File|Make] a [ticket|support ticket]: "{title}".',
                "I [opened|created] ticket {ticket}.",
            ),
            (
                "[Open|Create|File] a {priority} priority ticket: {title}[.|]",
                "Ticket {ticket} is {state}.",
            ),
            (
                "The {title}. [Please open a ticket|Can you file a ticket for that|Report it][?|.]",
                "Ticket {ticket} has been created.",
            ),
            (
                "[Please|] report that the {title}, priority {priority}.",
                "[Done|Reported]: the ticket number is {ticket}.",
            ),
        ),
        "Ticket {ticket} [created|opened]",
    ),
    Family(
        "tables",
        "book tables",
        "[book|reserve] table|[make|new] reservation|book restaurant|restaurant booking",
        (
            "[Book|Books|Reserve] a table [at|in] a restaurant.",
            "[Make|Makes] a restaurant reservation.",
        ),
        {
            "restaurant": Slot("restaurant|place|venue|name", "[The|] restaurant", world.firm),
            "people": Slot(
                "people|guests|party size|persons|seats",
                "[How many people|Number of guests]",
                number(1, 14),
                "integer",
            ),
            "time": Slot("time|at|when|start", "[The|] time", world.time_of_day),
        },
        {"code": world.code},
        (
            (
                "[Book|Reserve] a table [for {people}|for {people} people] at {restaurant} at {time}.",
                "[Your table|The table] at {restaurant} is booked, [the code is|code] {code}.",
            ),
            (
                "[I want|I'd like|We need] a table at {restaurant} for {people} at {time}.",
                "The table for {people} at {restaurant} is reserved[: {code}|].",
            ),
            (
                "We are {people} and want to eat at {restaurant} at {time}.",
                "Done, your code is {code}.",
            ),
        ),
        "[Booked|Confirmed|Reservation ok], [code|reference] {code}",
    ),
    Family(
        "customers",
        "look up customers",
        "[get|find|look up|search|fetch] customer|customer [info|lookup|details]",
        (
            "[Look up|Find|Get|Fetch] a customer by name.",
            "[Details|Data] of a customer[ of ours|].",
        ),
        {
            "name": Slot(
                "name|customer|customer name|full name", "[The|] customer's name", world.person
            )
        },
        {
            "email": world.email,
            "phone": world.phone,
            "city": world.city,
            "plan": one_of("basic|pro|free|premium|family|team"),
            "customer id": lambda rng: world.digits(rng, 3, 6),
        },
        (
            (
                "[What is|What's] the [email|email address|mail] of [customer|] {name}?",
                "{name}'s email is {email}.",
            ),
            (
                "[Give me|Find|Look up] {name}'s phone number.",
                "The phone number of {name} is {phone}.",
            ),
            ("[Which|What] plan is {name} on?", "{name} is on the {plan} plan."),
            ("Where does [our customer|] {name} live?", "{name} lives in {city}."),
            (
                "[Look up|Find] [the|] customer {name}[ and tell me the id|].",
                "{name} has the customer id {customer id}.",
            ),
        ),
    ),
    Family(
        "dictionary",
        "define words",
        "[define|look up|get] [word|definition|meaning]|define|dictionary|word meaning",
        (
            "[Define|Defines|Look up] a word.",
            "[Meaning|Definition] of a[n English|] word.",
            "Dictionary.",
        ),
        {"word": Slot("word|term|text|entry", "[The|] word", lambda rng: rng.choice(WORDS))},
        {
            "meaning": one_of(
                "calm and quiet|open and honest|quick and active|careful with money|easy to understand|"
                "strong and healthy|to stay for a time|to come into view|to grow well|to think about|"
                "full of joy|hard to see through|a short look|to set on fire|soft and pleasant"
            ),
            "kind": one_of("adjective|noun|verb"),
        },
        (
            ('[What does|What does the word] "{word}" mean?', '"{word}" means {meaning}.'),
            ("[Define|Explain] [the word|] {word}[.|]", "{word}: {meaning}."),
            (
                "[Meaning of|Definition of|Look up the word] {word}[, please|]",
                "{word} means {meaning}.",
            ),
            ("What kind of word is {word}?", "{word} is a{n} {kind}."),
        ),
        "{word}: {meaning}",
    ),
    Family(
        "translation",
        "translate texts",
        "translate|translate text|translator|[get|] translation",
        (
            "[Translate|Translates] [a|] text [into another language|to a language].",
            "Translation [of texts|].",
        ),
        {
            "text": Slot("text|input|phrase|content|source", "[The|] text[ to translate|]", phrase),
            "language": Slot(
                "language|target language|to|target|lang",
                "[The|] [target|] language",
                one_of(LANGUAGES),
            ),
        },
        {"translation": lambda rng: " ".join(world.word(rng) for _ in range(rng.randint(1, 3)))},
        (
            (
                '[Translate|Put|Turn] "{text}" [to|into] {language}[.|, please.]',
                '"{text}" in {language} is "{translation}".',
            ),
            (
                '[What is|What\'s|How do you say] "{text}" in {language}?',
                'In {language} it is "{translation}".',
            ),
            ("[Translate|Say] in {language}: {text}", "{translation}"),
        ),
        "{translation}",
    ),
    Family(
        "timers",
        "set timers",
        "[set|start] [timer|alarm|countdown]|timer",
        ("[Set|Sets|Start|Starts] a [timer|countdown].", "A [kitchen|] timer [in minutes|]."),
        {
            "minutes": Slot(
                "minutes|duration|length|duration minutes",
                "[How long|Minutes]",
                number(1, 120),
                "integer",
            ),
            "label": Slot(
                "label|name|title",
                "[What it is for|Name]",
                lambda r: r.choice(DISHES),
                required=False,
            ),
        },
        {"end": world.time_of_day},
        (
            (
                "[Set|Start] a timer [for|of] {minutes} minutes[, please|].",
                "The timer [runs for|is set to] {minutes} minutes.",
            ),
            (
                "[Set a|Start a] {minutes} minute timer for the {label}.",
                "The {label} timer is set to {minutes} minutes.",
            ),
            ("[Remind me|Ring] in {minutes} minutes.", "I set a timer for {minutes} minutes."),
            (
                "[The|My] {label} takes {minutes} minutes, [please set|start|set] a timer.",
                "The timer for the {label} is running.",
            ),
        ),
        "[Timer set|Timer started|ok], ends at {end}",
    ),
    Family(
        "calendar",
        "add appointments",
        "[add|create|new] [event|appointment|meeting]|schedule [event|meeting]|calendar add",
        (
            "[Add|Adds|Create] [an event|an appointment] [to|in] the calendar.",
            "[Schedule|Plan] a meeting.",
        ),
        {
            "title": Slot("title|name|event|summary", "[The|] [title|name of the event]", title),
            "date": Slot("date|day|when", "[The|] [date|day]", world.date),
            "time": Slot(
                "time|start time|start", "[The|] [start|] time", world.time_of_day, required=False
            ),
        },
        {"id": lambda rng: world.digits(rng, 3, 5)},
        (
            (
                '[Add|Put] "{title}" [to|in] my calendar on {date}[.|]',
                '"{title}" is in your calendar on {date}.',
            ),
            (
                '[Schedule|Plan] [a meeting|an event] "{title}" [on|for] {date} at {time}.',
                '"{title}" is planned for {date} at {time}.',
            ),
            (
                'I have "{title}" on {date} at {time}, [add it|put it in my calendar|note it].',
                'Done, "{title}" on {date}.',
            ),
        ),
        "[Event|Appointment] [{id} |][created|added]",
    ),
    Family(
        "music",
        "play music",
        "play [song|music|track]|play|music player",
        (
            "[Play|Plays] [a song|music].",
            "[Start|Starts] [a song|a track] on the [speaker|player].",
        ),
        {
            "song": Slot("song|title|track|name|query", "[The|] [song|title]", title),
            "volume": Slot(
                "volume|level",
                "[Volume|Loudness] [from 0 to 100|]",
                number(5, 100),
                "integer",
                required=False,
            ),
        },
        {
            "artist": world.person,
            "length": lambda rng: f"{rng.randint(2, 6)}:{rng.randint(10, 59)}",
        },
        (
            ('[Play|Put on|Start] "{song}"[ please|].', '"{song}" [by {artist}|] is playing.'),
            (
                "[I want to hear|Play me|Let me hear] {song}[.|]",
                "Now playing {song}[ by {artist}|].",
            ),
            ("Play {song} at volume {volume}.", "{song} is playing at volume {volume}."),
        ),
        "Playing {song} by {artist}",
    ),
    Family(
        "lights",
        "switch lights",
        "[set|control|switch|turn] [light|lights|lamp]|light switch|smart light",
        (
            "[Switch|Switches|Turn] [a light|the lights] on or off.",
            "[Control|Controls] the [lights|lamps] of a room.",
        ),
        {
            "room": Slot(
                "room|location|where|area",
                "[The|] room",
                one_of(
                    "kitchen|bedroom|hall|office|garage|bathroom|living room|garden|attic|cellar"
                ),
            ),
            "on": Slot(
                "on|state|is on|enabled|power",
                "[Whether it is on|true is on, false is off]",
                one_of("true|false"),
                "boolean",
                said={"true": "on", "false": "off"},
            ),
        },
        {"watts": number(3, 60)},
        (
            (
                "[Turn|Switch] {on} the [light|lights|lamp] in the {room}[, please|].",
                "The [light|lamp] in the {room} is {on}.",
            ),
            ("[Turn|Switch] the {room} [light|lights] {on}[.|]", "The {room} light is {on} now."),
            ("[Lights|Light] {on} in the {room}[!|]", "The {room} light is {on}."),
        ),
        "[ok|done|{room}: {on}|success]",
    ),
    Family(
        "parcels",
        "track parcels",
        "track [package|parcel|shipment]|[get|] tracking [info|status]|parcel status",
        (
            "[Track|Tracks|Follow] a [parcel|package|shipment].",
            "[Where a parcel is|Shipment status].",
        ),
        {
            "code": Slot(
                "tracking number|tracking code|code|tracking id|parcel",
                "[The|] tracking [number|code]",
                world.tracking,
            )
        },
        {
            "place": world.city,
            "state": one_of(
                "in transit|at customs|in the depot|on the van|delivered|held|returned"
            ),
            "eta": world.date,
        },
        (
            (
                "[Where is|Where's] [my|the] [parcel|package|shipment] {code}?",
                "[Your parcel|Parcel] {code} is {state} in {place}.",
            ),
            ("[Track|Follow|Trace] {code}[ for me|, please|]", "{code} is {state}."),
            (
                "When [will|does] [parcel|package] {code} [arrive|get here]?",
                "It should arrive on {eta}.",
            ),
            (
                "My tracking [number|code] is {code}. [Any news|Where is it]?",
                "Your parcel is {state} in {place}.",
            ),
        ),
        "{code}: {state}, {place}",
    ),
    Family(
        "prices",
        "look up prices",
        "[get|check|look up|find] [price|product price|item price]|price check",
        (
            "[Look up|Get|Returns] the price of [a product|an item|something we sell].",
            "Prices [of our goods|].",
        ),
        {
            "product": Slot(
                "product|item|product name|article|name", "[The|] [product|item]", world.product
            )
        },
        {"price": decimal(2, 900), "stock": number(0, 300), "sku": world.code},
        (
            (
                "[How much is|How much does|What costs] [the|a] {product}[ cost|]?",
                "The {product} [costs|is] {price}.",
            ),
            (
                "[What is|What's|Tell me] the price of [the|a] {product}.",
                "The price of the {product} is {price}.",
            ),
            (
                "Do you have [the|a] {product} in stock?",
                "There are {stock} of the {product} in stock.",
            ),
            ("[Price|Price check]: {product}", "{product}: {price}"),
            (
                "[How expensive is|What do you want for|What must I pay for] the {product} [in your shop|here|at your store|]?",
                "The {product} [costs|is] {price}.",
            ),
            (
                "[I want to buy|My wife likes|I saw] [the|a] {product}. [How much is it|What does it cost|And the price]?",
                "The price of the {product} is {price}.",
            ),
        ),
        "{product}: {price}[, {stock} in stock|]",
    ),
    Family(
        "flights",
        "find flights",
        "[search|find|get|book|] flights|flight search|find flight",
        (
            "[Find|Search|Searches] flights [between two cities|].",
            "Flights from one city to another[ on a date|].",
        ),
        {
            "from": Slot(
                "origin|from|from city|departure|source", "[City of departure|Origin]", world.city
            ),
            "to": Slot(
                "destination|to|to city|arrival", "[City of arrival|Destination]", world.city
            ),
            "date": Slot("date|day|departure date", "[The|] date", world.date, required=False),
        },
        {
            "flight": lambda rng: (
                f"{''.join(rng.choices(string.ascii_uppercase, k=2))}{rng.randint(10, 999)}"
            ),
            "departure": world.time_of_day,
            "price": number(39, 990),
        },
        (
            (
                "[Find|Get|Search] [me|] [a flight|flights] from {from} to {to}[.|]",
                "Flight {flight} leaves {from} at {departure}.",
            ),
            (
                "[I need to|I want to] fly from {from} to {to} on {date}.",
                "There is flight {flight} at {departure} for {price}.",
            ),
            (
                "[Which|What] flights [go|are there] from {from} to {to} on {date}?",
                "Flight {flight} leaves at {departure}.",
            ),
            ("How much is a flight from {from} to {to}?", "Flight {flight} costs {price}."),
        ),
        "{flight}, {departure}, {price}",
    ),
    Family(
        "notes",
        "keep notes",
        "[add|create|save|new|write] [note|memo]|take note|remember|[add|save] [todo|task|reminder]",
        (
            "[Save|Saves|Add|Write] a note.",
            "[Keep|Keeps] [a note|something] for later.",
            "[Add|Adds] [a task|something] to the list.",
        ),
        {"text": Slot("text|note|content|body|task", "[The|] [text|note]", phrase)},
        {"id": lambda rng: world.digits(rng, 1, 5)},
        (
            (
                '[Note|Write down|Save|Remember] "{text}".',
                "[I noted it|Noted|It is saved][ as number {id}|].",
            ),
            (
                '[Add|Put] "{text}" [to|on] my [list|notes].',
                '"{text}" is [on your list|in your notes].',
            ),
            ("[Make a note|Take a note|Add a task]: {text}", '[Done|Saved]: "{text}".'),
            ('[Remind me|Don\'t let me forget]: "{text}"', "I saved it[ under number {id}|]."),
        ),
        "[Saved|Note saved|Added], [id|number] {id}",
    ),
    Family(
        "refunds",
        "refund orders",
        "[refund|refund order|issue refund|create refund]|return order",
        (
            "[Refund|Refunds] an order.",
            "[Give|Gives] [the customer|a customer] money back for an order.",
        ),
        {
            "order": ORDER,
            "reason": Slot(
                "reason|why|note|cause",
                "[The|] reason",
                one_of(
                    "damaged|too late|wrong item|too small|not needed|missing parts|bad quality"
                ),
                required=False,
            ),
        },
        {"amount": decimal(3, 400), "refund": world.code},
        (
            (
                "[Refund|Please refund|Return] order {order}[.|]",
                "Order {order} is refunded[: {amount}|].",
            ),
            (
                "[I want|We want] my money back for order {order}.",
                "The refund for order {order} is {amount}.",
            ),
            (
                "[Refund|Return] order {order}, [reason|because]: {reason}[.|]",
                "I refunded order {order}, the amount is {amount}.",
            ),
        ),
        "[Refunded|Refund {refund} of] {amount}",
    ),
    Family(
        "routes",
        "find routes",
        "[get|find|calculate|] [route|directions|distance]|how far|distance between",
        (
            "[Distance|Route|Directions] between two [places|cities].",
            "[Find|Finds|Get] the [way|route] from one place to another.",
        ),
        {
            "from": Slot("origin|start|from|from place", "[Start|Where it begins]", world.city),
            "to": Slot("destination|end|to|to place", "[Goal|Where it ends]", world.city),
            "mode": Slot(
                "mode|by|transport",
                "[How one travels|Means of transport]",
                one_of("car|train|bike|foot|bus"),
                choices="car|train|bike|foot|bus",
                required=False,
            ),
        },
        {"distance": number(3, 2400), "hours": number(1, 30)},
        (
            (
                "How far is it from {from} to {to}[ by {mode}|]?",
                "It is {distance} kilometers from {from} to {to}.",
            ),
            (
                "[What is|What's] the distance [between {from} and|from {from} to] {to}?",
                "The distance is {distance} km.",
            ),
            (
                "How long [do I need|does it take] from {from} to {to} by {mode}?",
                "By {mode} it takes {hours} hours.",
            ),
            (
                "[Show me|Find] the [way|route] from {from} to {to}[ by {mode}|].",
                "The way from {from} to {to} is {distance} kilometers and takes {hours} hours.",
            ),
        ),
        "{distance} km, {hours} hours",
    ),
    Family(
        "people",
        "look up colleagues",
        "[find|get|look up] [employee|colleague|contact|person]|[employee|staff] directory",
        (
            "[Find|Look up] [a colleague|an employee|a contact].",
            "[Staff|Phone] directory[ of the firm|].",
        ),
        {
            "name": Slot(
                "name|person|employee|who|employee name", "[The|] [person's|] name", world.person
            )
        },
        {
            "extension": number(100, 9999),
            "room": lambda rng: f"{rng.choice('ABCD')}{rng.randint(1, 400)}",
            "department": one_of("sales|finance|legal|support|design|research|logistics|marketing"),
            "manager": world.person,
        },
        (
            (
                "[What is|What's] [the extension of {name}|{name}'s extension]?",
                "{name}'s extension is {extension}.",
            ),
            (
                "[Where|In which room] [does {name} sit|can I find {name}]?",
                "{name} is in room {room}.",
            ),
            (
                "[Which|What] department [does {name} work in|is {name} in]?",
                "{name} works in {department}.",
            ),
            ("Who is {name}'s [manager|boss]?", "The manager of {name} is {manager}."),
        ),
    ),
)
