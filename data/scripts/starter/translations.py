"""Words of the Italian, French and Spanish titles in openclipart, in English; articles and prepositions vanish."""

_TABLE = """
acquila=eagle aereo=airplane aglio=garlic alberi=trees albero=tree anelli=rings anello=ring antilope=antelope
ape=bee aquila=eagle arancione=orange arbol=tree arbre=tree armadillo=armadillo au= aux= avion=airplane
ballerina=dancer bambina=girl bambino=boy barca=boat bateau=boat bianca=white bianchi=white bianco=white
bicchiere=glass binocolo=binoculars birra=beer borsa=bag bottiglia=bottle caffe=coffee calcolatrice=calculator
calici=goblets camicia=shirt campagna=countryside campeggio=camping cane=dog canguro=kangaroo cani=dogs
capitello=capital cartella=folder casa=house casas=houses casco=helmet cassa=box castello=castle
cavalletta=grasshopper cavalli=horses cavallo=horse cerise=cherry cervo=deer cestino=basket chaise=chair
chalet=chalet chat=cat cheval=horse chiave=key chien=dog chiesa=church cielo=sky cigni=swans cigno=swan
civetta=owl clessidra=hourglass coccinella=ladybug coccinellona=ladybug col= colombo=dove coniglio=rabbit
couronne=crown croissant=croissant cubo=cube cucina=kitchen da= dei= del= della= delle= demolizione=demolition
dentata=gear dente=tooth des= di= dinosauri=dinosaurs dinosauro=dinosaur disquete=diskette donna=woman
donne=women du= edificio=building egizio=egyptian elefante01=elephant elefante02=elephant elefante=elephant
engrenagem=gear estintore=extinguisher estrella=star fabbrica=factory farfalla=butterfly farfalle=butterflies
fata=fairy fatina=fairy figo=cool finestra=window finestre=windows fiore=flower fiori=flowers fleur=flower
flor=flower foglia=leaf foglie=leaves foglio=sheet forbici=scissors forchetta=fork forchettoni=forks formica=ant
formichina=ant formicona=ant fotografica=camera fraise=strawberry frullatore=blender fuoco=fire gabbia=cage
gabbiano=seagull gallo=rooster gato=cat gatta=cat gatti=cats gattina=kitten gatto=cat gauffre=waffle
gaufre=waffle gelato=icecream ghiaccio=ice giallo=yellow giardino=garden glace=icecream gli= gomma=eraser
grigia=gray grigio=gray gufo=owl humain=human il= incinta=pregnant insetto=insect insieme=together
istogramma=histogram italia=italy italiana=italian la= lampada=lamp lana=wool lattine=cans le= legno=wood
lente=lens leone=lion les= lettera=letter libellula=dragonfly libri=books libro=book lo= lucchetto=padlock
lucertola=lizard lucertolona=lizard lucertolone=lizard lumaca=snail luna=moon macchina=car maison=house
mano=hand mare=sea marino=sea mazzo=bunch medicina=medicine mela=apple microfono=microphone
microscopio=microscope mobile=furniture mondo=world montagna=mountain moschito=mosquito mostriciattolo2=monster
mostriciattolo=monster motivo=pattern mucca=cow negozio=shop nella= nera=black neri=black nero=black neve=snow
nonno=grandfather notte=night occhiali=glasses oiseau=bird ombrello=umbrella ombrelloni=umbrellas omino=man
orme=footprints orologio=clock orso=bear ottone=brass pacco=package pace=peace paesaggio=landscape pajaro=bird
palla=ball palloncini=balloons palude=swamp pane=bread pannocchia=corn papillon=butterfly pattinatrice=skater
pattinatrici=skaters pattini=skates pecora=sheep penna=pen peperoncino=chili pera=pear perro=dog pesca=peach
pesce=fish pescetto=fish pettine=comb pianta=plant piccolo=small pinguino=penguin pinzatrice=stapler
pioggia=rain poisson=fish pollo=chicken poltrona=armchair pomme=apple pomodori=tomatoes ponte=bridge
portafoglio=wallet posate=cutlery principessa=princess profilo=profile provetta=testtube prugna=plum
pulsante=button puntine=pins ragazza=girl ragazzo=boy ragnetto=spider ragno=spider ramarro=lizard rana01=frog
rana02=frog rana03=frog rana=frog ravanello=radish regalo=gift ricette=recipes rosa=rose rossa=red rosso=red
ruota=wheel sacco=bag sale=salt sangue=blood scarpa=shoe scarpe=shoes scatola=box scatole=boxes scimmia=monkey
sedia=chair sega=saw serpente=snake seta=silk signora=lady signore=gentleman signorina=lady simbolo=symbol
sol=sun sole=sun soleil=sun stambecco=ibex stampante=printer stella=star stiro=ironing stormo=flock strada=road
striscia=stripe sub=diver subacqueo=diver sulla= tacchino=turkey tante= tasto=button tatoo=tattoo
tatuaggi=tattoo tatuaggio=tattoo tavolo=table tazza=cup teiera=teapot telecamera=camera telecomando=remote
telefono=telephone televisore=television tenda=tent tigre01=tiger tigre02=tiger tigre03=tiger tigre04=tiger
tigre05=tiger tigre=tiger tigri=tigers topo=mouse toro=bull torta=cake tramonto=sunset traslocatore=mover
treno=train uccelli=birds uccello=bird ufficio=office un= una= uomo=man utensili=tools uva=grapes vacca=cow
valigie=suitcases vela=sail verde=green vestito=dress villa=villa vino=wine viola=violet voiture=car volpe=fox
vuoto=empty zanzara=mosquito zucca=pumpkin zucchero=sugar
"""
ENGLISH = dict(pair.split("=") for pair in _TABLE.split())
